"""`benison reproduce` makes a version again, and sees what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import made_from, reproduction
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from benison.serving.errors import VersionError
from benison.serving.versions import local
from tests.integration.conftest import Project

SAME = {
    "CsvExampleGen",
    "StatisticsGen",
    "Transform",
    "Transform transformed examples",
    "Trainer.linear",
    "Trainer.quadratic",
    "Tuner.deep",
    "Trainer.deep",
    "EnsembleBuilder",
    "accuracy of ensemble",
    "accuracy of deep",
}


def recorded(project: Project) -> tuple[reproduction.Recorded, Run]:
    (version,) = local.versions(project.base)
    run = next(run for run in runs.history(project.root) if run.outcome == "pushed")
    return reproduction.Recorded(version, run, made_from.config_of(version.manifest.made_from), ()), run


def test_a_run_is_equal_to_itself_in_everything_that_is_compared(pushed: Project) -> None:
    found, run = recorded(pushed)
    rows = reproduction.compare(found, run)
    assert {row.name for row in rows} >= SAME
    assert {row.is_equal for row in rows} == {True}
    assert next(row.now for row in rows if row.name == "CsvExampleGen").endswith(", 344 rows")


def test_other_examples_weights_and_metrics_are_seen(pushed: Project, tmp_path: Path) -> None:
    found, run = recorded(pushed)

    def moved(kind: str, node: str, name: str, change: Any) -> None:
        """Let the run's record name a copy of an artifact, with a change."""
        (output,) = next(outputs for outputs in place(node).values() if outputs[0]["type"] == kind)
        folder = Path(shutil.copytree(output["uri"], tmp_path / node))
        change(folder / name)
        output["uri"] = str(folder)

    def place(node: str) -> Mapping[str, list[dict[str, Any]]]:
        return next(record.outputs for record in again.nodes if record.id == node)

    def lower(file: Path) -> None:
        blessing = json.loads(file.read_text())
        blessing["metrics"]["ensemble"]["accuracy"] -= 1e-6
        file.write_text(json.dumps(blessing))

    again = runs.read(run.folder / runs.FILE)
    test, valid = (f"Split-{split}/data_tfrecord-00000-of-00001.gz" for split in ("test", "valid"))
    moved("Examples", "CsvExampleGen", test, lambda file: shutil.copy(file.parents[1] / valid, file))
    weights = "Format-Serving/variables/variables.data-00000-of-00001"
    moved("Model", "Trainer.deep", weights, _change_a_bit)
    moved("ModelBlessing", "Blessing", "blessing.json", lower)
    different = {row.name for row in reproduction.compare(found, again) if not row.is_equal}
    assert different == {"CsvExampleGen", "Trainer.deep", "accuracy of ensemble"}


def _change_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1  # of the first variable
    file.write_bytes(content)


def test_a_project_that_has_moved_is_read_where_it_is_now(pushed: Project, tmp_path: Path) -> None:
    moved = shutil.copytree(pushed.folder, tmp_path / "mo ved", symlinks=True)
    (version,) = local.versions(pushed.base)
    found = reproduction.find(moved / pushed.root.name, "birds", version.number)
    assert found.config.source.parent == moved
    assert all(file.is_relative_to(moved) for file in map(Path, found.config.files()))
    here = {row.name for row in reproduction.compare(found, found.run) if row.is_equal}
    assert here >= SAME
    assert all(Path(output["uri"]).is_relative_to(moved) for output in found.run.outputs("Model"))

    first = Path(found.config.files()[0])
    first.write_text(first.read_text() + first.read_text().splitlines()[-1] + "\n")
    with pytest.raises(VersionError, match=f"data: {first} has changed"):
        reproduction.find(moved / pushed.root.name, "birds", version.number)


@pytest.mark.soak
def test_a_version_is_made_again_bit_by_bit(pushed: Project, tmp_path: Path) -> None:
    (version,) = pushed.versions()
    done = pushed.benison("reproduce", "birds", version, "--into", str(tmp_path / "again"), real=True)
    rows = {" ".join(line.split()[:-2]) for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stdout + done.stderr
    assert "different" not in done.stdout
    assert "equal: " in done.stdout
    assert any("Trainer.deep" in row for row in rows)
    again, before = tmp_path / "again/serving/birds", pushed.base / version
    (made,) = local.versions(again)
    first = json.loads((before / "manifest.json").read_text())
    assert made.manifest.candidate == first["candidate"]
    assert made.manifest.hashes == first["hashes"]
    assert pushed.versions() == [version]
