"""Pruning: find the versions and artifacts of a pipeline that are no longer needed, and remove them.

The newest `serving.keep` versions stay, the versions that are served, and those that one of them publishes once more.
An artifact stays if one of these runs wrote or used it: the last run, the last successful run, or a run that pushed a
version that stays. Artifacts that no run in ROOT names, such as those of other runners, stay too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benison.pipelines.records import lineage, locks, runs
from benison.pipelines.records.sizes import folder_size
from benison.serving.promotion import promote, pruning
from benison.serving.versions import local, remote
from benison.serving.versions.local import Version

_ENDED_WELL = frozenset({"pushed", "already_served", "not_blessed", "not_pushed", "complete"})


@dataclass(frozen=True)
class Prunable:
    """Versions and artifacts that can be removed.

    Attributes:
        versions: versions of the ensemble, and of members that were not pushed with a version that stays.
        artifacts: folders of artifacts.
        sizes: bytes by path, for both.
    """

    versions: tuple[Version, ...]
    artifacts: tuple[Path, ...]
    sizes: dict[Path, int]


def find_prunable(root: Path, name: str, keep: int) -> Prunable:
    """Find what can be removed of a pipeline.

    Args:
        root: ROOT.
        name: the pipeline's name.
        keep: how many of the newest versions stay, besides the served ones.

    Raises:
        UsageError: models.config is not valid.
    """
    base = root / "serving" / name
    versions, retained = pruning.unneeded(base, keep), pruning.kept(base, keep)
    artifacts = unneeded_artifacts(
        [run for run in runs.history(root) if run.pipeline == name],
        pruning.with_origins(retained, {version.number for version in retained}),
    )
    folders = [path for path in artifacts if path.is_relative_to(root / "artifacts" / name) and path.is_dir()]
    paths = [*(version.path for version in versions), *folders]
    return Prunable(tuple(versions), tuple(folders), {path: folder_size(path) for path in paths})


def unneeded_artifacts(history: Iterable[runs.Run], kept: set[int]) -> list[Path]:
    """Return the artifacts that runs wrote or used and that no run needs now.

    Args:
        history: a pipeline's runs, oldest first.
        kept: numbers of the versions that stay.
    """
    needed: set[str] = set()
    known: dict[str, None] = {}
    last: dict[bool, set[str]] = {}
    for run in history:
        uris = {output["uri"] for node in run.nodes for outputs in node.outputs.values() for output in outputs}
        known |= dict.fromkeys(sorted(uris))
        last[run.outcome in _ENDED_WELL] = uris
        if _pushed(run) & kept:
            needed |= uris
    needed = needed.union(*last.values())
    return [Path(uri) for uri in known if uri not in needed]


def remove(root: Path, name: str, keep: int, store: str | None = None) -> Prunable:
    """Remove what `find_prunable` finds, while no run of the pipeline and no promotion is under way.

    A version is removed from the object store first: pruning looks only for versions that are on the disk.

    Args:
        root: ROOT.
        name: the pipeline's name.
        keep: see `find_prunable`.
        store: the object store that versions were copied to.

    Returns:
        What was removed.

    Raises:
        UsageError: a run of this pipeline is under way, or models.config is not valid.
        StoreError: a version cannot be removed from the store; earlier removals are not undone.
        OSError: something cannot be removed from the disk; earlier removals are not undone.
    """
    with _pruning_locks(root, name):
        prunable = find_prunable(root, name, keep)
        for version in prunable.versions:
            if store:
                remote.remove(store, version.path.parent.name, version.number)
            local.remove(version)
        if prunable.artifacts:
            # Before the files go, so that no run takes them from the cache even if this is interrupted.
            lineage.mark_deleted(root, [str(path) for path in prunable.artifacts])
        for path in prunable.artifacts:
            shutil.rmtree(path)
        return prunable


def _pushed(run: runs.Run) -> set[int]:
    numbers = (output["properties"].get("pushed_version", "") for output in run.outputs("PushedModel"))
    return {int(number) for number in numbers if str(number).isdigit()}


@contextmanager
def _pruning_locks(root: Path, name: str) -> Iterator[None]:
    with (
        locks.pipeline_lock(root, name, "benison prune"),
        locks.node_lock(root, exclusive=True),
        promote.promotion_lock(root / "serving" / name),
    ):
        yield
