"""Pruning removes what neither a version that stays nor the last run needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benison.pipelines.records import locks, pruning, runs
from benison.serving.errors import UsageError
from benison.serving.promotion import promote
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local, pushes, sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make four versions of `birds` with one member each, the run that pushed each of them, and a failed last run."""
    root = tmp_path / "root"
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    for number in (1, 2, 3, 4):
        candidate = Candidate(model, Manifest())
        sets.publish(candidate, root / "serving" / "birds", {"deep": candidate}, lambda number=number: number)  # type: ignore[misc]
        run(root, number, "pushed", ["CsvExampleGen/examples/1", f"Trainer/model/{number}0"], number)
    run(root, 5, "failed", ["CsvExampleGen/examples/1", "Trainer/model/50"])
    (root / "artifacts/birds/Trainer/model/99").mkdir()  # written by another runner
    return root


def run(root: Path, number: int, outcome: str, artifacts: list[str], pushed: int | None = None) -> None:
    """Write a run's `run.json` and its artifacts."""
    uris = [root / "artifacts" / "birds" / name for name in artifacts]
    for uri in uris:
        uri.mkdir(parents=True, exist_ok=True)
        (uri / "data").write_bytes(b"12345")
    outputs = {"out": [{"uri": str(uri), "type": "Model", "properties": {}} for uri in uris]}
    if pushed:
        push = {"uri": "", "type": "PushedModel", "properties": {"pushed_version": str(pushed)}}
        outputs["pushed"] = [push]
    folder = root / "runs" / f"birds-{number}"
    node = runs.NodeRun("all", "All", "", "complete", outputs=outputs)
    folder.mkdir(parents=True)
    runs.Run(folder.name, "birds", folder, float(number), 1.0, outcome, [node]).save()


def trainers(prunable: pruning.Prunable) -> list[str]:
    return sorted(path.name for path in prunable.artifacts)


def numbers(prunable: pruning.Prunable) -> list[tuple[str, int]]:
    return [(version.path.parent.name, version.number) for version in prunable.versions]


def test_the_newest_versions_stay_with_the_artifacts_of_their_runs(root: Path) -> None:
    prunable = pruning.find_prunable(root, "birds", 2)
    assert numbers(prunable) == [("birds", 1), ("birds", 2), ("birds-deep", 1), ("birds-deep", 2)]
    assert trainers(prunable) == ["10", "20"]
    assert prunable.sizes[prunable.artifacts[0]] == 5


def test_a_served_version_stays_however_old_it_is(root: Path) -> None:
    base = root / "serving" / "birds"
    promote.promote(base, 1, ChangeRequest("ann", ""))
    promote.promote(base, 2, ChangeRequest("ann", ""), label="canary")
    prunable = pruning.find_prunable(root, "birds", 1)
    assert numbers(prunable) == [("birds", 3), ("birds-deep", 3)]
    assert trainers(prunable) == ["30"]


def test_what_a_republished_version_came_from_stays(root: Path) -> None:
    base = root / "serving" / "birds"
    assert promote.republish(base, 1, who="ann", why="").number > 4
    promote.republish(base, local.versions(base)[-1].number, who="ann", why="")  # an origin may have one too
    origins = [1, local.versions(base)[-2].number]
    prunable = pruning.find_prunable(root, "birds", 1)
    assert not {("birds", number) for number in origins} & {*numbers(prunable)}
    assert trainers(prunable) == ["20", "30"]
    local.remove(local.get(base, 1))  # an earlier release did not keep it
    assert trainers(pruning.find_prunable(root, "birds", 1)) == ["20", "30"]


def test_a_member_that_a_version_that_stays_needs_stays(root: Path) -> None:
    base = root / "serving" / "birds"
    (base / pushes.FILE).unlink()  # with this record, an edited manifest would make the version damaged
    manifest = base / "4" / local.MANIFEST
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**data, "fan_out": {"deep": {"model": "birds-deep", "version": 1}}}))
    assert ("birds-deep", 1) not in numbers(pruning.find_prunable(root, "birds", 1))


def test_artifacts_of_the_last_run_and_the_last_successful_run_stay(root: Path) -> None:
    run(root, 6, "not_blessed", ["Trainer/model/60"])
    run(root, 7, "invalid", ["Trainer/model/70"])
    prunable = pruning.find_prunable(root, "birds", 1)
    assert trainers(prunable) == ["10", "20", "30", "50"]


def test_nothing_is_removed_if_everything_is_needed(root: Path) -> None:
    prunable = pruning.find_prunable(root, "birds", 4)
    assert (prunable.versions, prunable.artifacts, prunable.sizes) == ((), (), {})


def test_no_run_may_be_under_way(root: Path) -> None:
    with locks.pipeline_lock(root, "birds", "birds-8"), pytest.raises(UsageError, match=r"run birds-8 .* is under way"):
        pruning.remove(root, "birds", 1)
    assert [version.number for version in local.versions(root / "serving" / "birds")] == [1, 2, 3, 4]


def test_removed_artifacts_are_not_taken_from_the_cache(root: Path) -> None:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    from benison.pipelines.records import metadata_store

    uris = {number: str(root / f"artifacts/birds/Trainer/model/{number}0") for number in (1, 4)}
    with metadata_store.of_root(root) as handle:
        (kind,) = [handle.store.put_artifact_type(mlmd.ArtifactType(name="Model"))]
        handle.store.put_artifacts(
            [mlmd.Artifact(type_id=kind, uri=uri, state=mlmd.Artifact.LIVE) for uri in uris.values()]
        )
    prunable = pruning.remove(root, "birds", 1)
    assert pruning.find_prunable(root, "birds", 1) == pruning.Prunable((), (), {})
    assert {Path(uri).exists() for uri in uris.values()} == {False, True}
    assert len(prunable.versions) == 6
    with metadata_store.of_root(root) as handle:
        states = {artifact.uri: artifact.state for artifact in handle.store.get_artifacts()}
    assert states == {uris[1]: mlmd.Artifact.DELETED, uris[4]: mlmd.Artifact.LIVE}
    assert (root / "artifacts/birds/Trainer/model/99").is_dir()
