"""A Tuner on a real Airflow: its workers are tasks, and there are exactly as many trials as the YAML says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.airflow_birds import PATIENCE, recorded
from tests.integration.airflow_here import Here, eventually
from tests.integration.conftest import make

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

TUNER = "tuner: {trials: 6, workers: 2, epochs: 40, space: {units: [16, 32, 64], learning_rate: [0.003, 0.01, 0.03]}}"


def test_the_workers_of_a_tuner_are_mapped_tasks(here: Here, tmp_path: Path) -> None:
    project = make(tmp_path / "tuned")
    yaml = project.folder / "birds.yaml"
    lines = [line if "tuner:" not in line else f"      {TUNER}" for line in yaml.read_text().splitlines()]
    (project.folder / "tuned.yaml").write_text("\n".join(lines).replace("name: birds", "name: tuned"))
    done = project.benison(
        "compile", "tuned.yaml", "--config-only", "-o", str(here.manifests), "--root", str(here.root)
    )
    assert done.returncode == 0, done.stderr
    eventually(lambda: "tuned" in {dag["dag_id"] for dag in here.api.dags()})
    run = here.api.trigger("tuned")
    ended = ("success", "failed", "upstream_failed")

    def state(task: str) -> str:
        return str(here.api.tasks("tuned", run).get(task, {}).get("state"))

    def has_ended(task: str) -> bool:
        return state(task) in ended

    for task in ("Tuner.deep", "Tuner.deep.helpers"):
        eventually(partial(has_ended, task), PATIENCE)
        assert state(task) == "success"
    node = next(node for node in recorded(here, "tuned", run).nodes if node.id == "Tuner.deep")
    trials = pd.read_parquet(Path(node.outputs["tuner_results"][0]["uri"]) / "trials.parquet")
    assert sorted(trials["trial"]) == list("012345")
    assert set(trials["status"]) == {"completed"}
    assert set(trials["worker"]) == {"worker-0", "task-1"}
