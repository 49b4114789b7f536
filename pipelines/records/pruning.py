"""What of a pipeline's versions and artifacts nobody needs any longer, and taking it off the disk.

Versions stay by `serving.keep`, and those that are served. Artifacts stay where the last run, the last one that ended
well, or the run that pushed a version that stays made or used them. Of other runners' artifacts, which no run in ROOT
names, nothing is known, so they are left alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benison.pipelines.records import lineage, locks, runs
from benison.pipelines.records.sizes import on_disk
from benison.serving.promotion import promote, pruning
from benison.serving.versions import local, remote
from benison.serving.versions.local import Version

_ENDED_WELL = frozenset({"pushed", "already_served", "not_blessed", "complete"})


@dataclass(frozen=True)
class Waste:
    """What can go.

    Attributes:
        versions: of the ensemble, and of members that no version that stays was pushed with.
        artifacts: folders of artifacts.
        sizes: bytes by path, of both.
    """

    versions: tuple[Version, ...]
    artifacts: tuple[Path, ...]
    sizes: dict[Path, int]


def waste(root: Path, name: str, keep: int) -> Waste:
    """What of a pipeline can go.

    Args:
        root: ROOT.
        name: the pipeline's.
        keep: how many of the newest versions stay, beside those that are served.

    Raises:
        UsageError: models.config is none.
    """
    base = root / "serving" / name
    going = pruning.unneeded(base, keep)
    artifacts = unneeded(
        [run for run in runs.history(root) if run.pipeline == name],
        {version.number for version in pruning.kept(base, keep)},
    )
    there = [path for path in artifacts if path.is_relative_to(root / "artifacts" / name) and path.is_dir()]
    paths = [*(version.path for version in going), *there]
    return Waste(tuple(going), tuple(there), {path: on_disk(path) for path in paths})


def unneeded(history: Iterable[runs.Run], kept: set[int]) -> list[Path]:
    """The artifacts that runs made or used, and that none needs any longer.

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


def remove(root: Path, name: str, keep: int, store: str | None = None) -> Waste:
    """Takes off the disk what `waste` finds, while no run of the pipeline and no promotion is under way.

    Versions go from the object store before they go here: what is no longer here would not be looked for there.

    Args:
        root: ROOT.
        name: the pipeline's.
        keep: see `waste`.
        store: that versions were copied to.

    Returns:
        What it was.

    Raises:
        UsageError: a run of this pipeline is under way, or models.config is none.
        StoreError: a version cannot be removed there; what was removed before is gone.
        OSError: something cannot be removed; what was removed before is gone.
    """
    with _alone(root, name):
        found = waste(root, name, keep)
        for version in found.versions:
            if store:
                remote.remove(store, version.path.parent.name, version.number)
            local.remove(version)
        if found.artifacts:
            # First, so that no run takes from the cache what is gone, wherever this breaks off.
            lineage.mark_deleted(root, [str(path) for path in found.artifacts])
        for path in found.artifacts:
            shutil.rmtree(path)
        return found


def _pushed(run: runs.Run) -> set[int]:
    numbers = (output["properties"].get("pushed_version", "") for output in run.outputs("PushedModel"))
    return {int(number) for number in numbers if str(number).isdigit()}


@contextmanager
def _alone(root: Path, name: str) -> Iterator[None]:
    with (
        locks.pipeline_lock(root, name, "benison prune"),
        locks.node_lock(root, exclusive=True),
        promote.promotion_lock(root / "serving" / name),
    ):
        yield
