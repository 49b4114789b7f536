"""A column that gives the label away: the run goes on and warns, or stops where the YAML says so."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.integration.conftest import Project, make

SAID = "column 'ring' alone tells the label (1.0000 of 1): is it known before the label is?"
FEW = ("--set", "ensemble.members={linear: {epochs: 20, hyperparameters: {learning_rate: 0.03}}}")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Penguins that got a ring whose colour depends on their species; one species wears none."""
    made = make(tmp_path_factory.mktemp("leak") / "own")
    with made.csv.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with made.csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "ring"])
        writer.writeheader()
        writer.writerows({**row, "ring": {"Adelie": "red", "Gentoo": "blue"}.get(row["species"], "")} for row in rows)
    return made


def test_the_run_goes_on_and_warns_at_its_end_and_in_its_report(project: Project) -> None:
    done = project.run(*FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"warning: {SAID}" in done.stdout
    (check,) = [node for node in project.last_run()["nodes"] if node["id"] == "LabelCheck"]
    (output,) = check["outputs"]["report"]
    assert json.loads(output["properties"]["warnings"]) == [SAID]
    report = json.loads(Path(output["uri"], "label.json").read_text())
    assert report["suspicious"] == ["ring"]
    assert report["columns"]["ring"] == 1
    assert max(value for name, value in report["columns"].items() if name != "ring") < 0.99


def test_it_stops_the_run_where_the_yaml_says_so(project: Project) -> None:
    before = project.versions() if project.base.exists() else []
    yaml = project.folder / "birds.yaml"
    yaml.write_text(yaml.read_text() + "validation: {severity: {leak: stop}}\n")
    done = project.run(*FEW)
    assert done.returncode == 1
    assert f"LabelCheck found the data invalid: {SAID}" in done.stdout
    assert (project.versions() if project.base.exists() else []) == before
