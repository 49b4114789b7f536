"""A column that leaks the label stops the run; if the YAML accepts it, output, report and version name it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.integration.conftest import Project, make

WARNING = "column 'ring' alone predicts the label (1.0000 of 1): is it known before the label?"
FEW = ("--set", "ensemble.members={linear: {epochs: 20, hyperparameters: {learning_rate: 0.03}}}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project of penguins with a ring whose colour depends on the species; one species has no ring."""
    project = make(tmp_path_factory.mktemp("leak") / "own")
    with project.csv.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with project.csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "ring"])
        writer.writeheader()
        writer.writerows({**row, "ring": {"Adelie": "red", "Gentoo": "blue"}.get(row["species"], "")} for row in rows)
    return project


def test_it_stops_the_run(project: Project) -> None:
    done = project.run(*FEW)
    assert done.returncode == 1
    assert f"LabelCheck found invalid data: {WARNING} If not, remove it from the data or ignore it." in done.stdout
    assert not project.base.exists()


def test_if_it_is_accepted_the_end_the_report_and_the_version_name_it(project: Project) -> None:
    yaml = project.folder / "birds.yaml"
    yaml.write_text(yaml.read_text() + "validation: {severity: {leak: warn}}\n")
    done = project.run(*FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"warning: {WARNING}" in done.stdout
    (check,) = [node for node in project.last_run()["nodes"] if node["id"] == "LabelCheck"]
    (output,) = check["outputs"]["report"]
    assert json.loads(output["properties"]["warnings"]) == [WARNING]
    report = json.loads(Path(output["uri"], "label.json").read_text())
    assert report["suspicious"] == ["ring"]
    assert report["columns"]["ring"] == 1
    assert max(value for name, value in report["columns"].items() if name != "ring") < 0.99
    (version,) = project.versions()
    manifest = json.loads((project.base / str(version) / "manifest.json").read_text())
    verdicts = {verdict["rule"]: verdict["reason"] for verdict in manifest["verdicts"]}
    assert verdicts["suspicious column ring"] == f"{WARNING} (accepted)"
