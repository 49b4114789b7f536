"""The penguins as a user's project on a running Airflow, small enough for several runs."""

from __future__ import annotations

import re
from pathlib import Path

from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from tests.integration.airflow_here import Here, eventually
from tests.integration.conftest import Project, make

PATIENCE = 2400  # seconds for a run on a busy machine
# For `compiled`: ServingValidator measures latencies while the machine also trains another model.
SLOW = "serving: {budget: {p99_ms: 5000}}\n"


def compiled(here: Here, folder: Path, name: str, more: str = "") -> Project:
    """Make a project and compile it into the manifests of a running Airflow, which then lists its DAG.

    It has two members and no tuner, because each node must import TensorFlow.

    Args:
        here: the Airflow.
        folder: the project's folder; it is created.
        name: the name of the pipeline and of its YAML.
        more: keys of the YAML besides those of `conftest.make`.
    """
    project = make(folder)
    text, members, rest = re.split(r"(?<=members:\n)|(?=blessing:)", (folder / "birds.yaml").read_text())
    assert "deep" in members
    text = text.replace("name: birds", f"name: {name}")
    members = """\
    linear: {epochs: 30, hyperparameters: {learning_rate: 0.03}}
    deep: {epochs: 12, hyperparameters: {units: 16, learning_rate: 0.02, dropout: 0.1}}
"""
    (folder / f"{name}.yaml").write_text(text + members + rest + more)
    done = project.benison(
        "compile", f"{name}.yaml", "--config-only", "-o", str(here.manifests), "--root", str(here.root)
    )
    assert done.returncode == 0, done.stderr
    eventually(lambda: name in {dag["dag_id"] for dag in here.api.dags()})
    return project


def begun(here: Here, dag: str, run: str) -> Path:
    """Return the folder in ROOT of an Airflow run whose `Begin` has ended."""
    return Path(here.api.result(dag, run, "Begin")["folder"])


def recorded(here: Here, dag: str, run: str) -> Run:
    """Read the `run.json` of such a run."""
    return runs.read(begun(here, dag, run) / runs.FILE)
