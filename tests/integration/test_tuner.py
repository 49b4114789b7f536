"""A search in two processes: exactly its trials, whoever is killed, and the same ones as in one process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.integration.conftest import Project, make
from tests.waiting import eventually

TUNER = "ensemble.members.deep.tuner"
SPACE = "{units: [8, 16, 32], learning_rate: {min: 0.003, max: 0.03, sampling: log}, batch_size: [16, 32]}"


def settings(**tuner: Any) -> list[str]:
    return ["--to", "Tuner.deep", *(f"--set={TUNER}.{name}={value}" for name, value in tuner.items())]


def table(project: Project) -> pd.DataFrame:
    """Return the trials of the last run, in the order of their ids."""
    (output,) = next(n["outputs"]["tuner_results"] for n in project.last_run()["nodes"] if n["id"] == "Tuner.deep")
    return pd.read_parquet(Path(output["uri"]) / "trials.parquet").sort_values("trial", ignore_index=True)


def searches(project: Project) -> list[Path]:
    return list(project.root.glob("artifacts/birds/Tuner.deep/.system/searches/*"))


def finished(project: Project) -> int:
    return sum(len(list(folder.glob("trials/*.json"))) for folder in searches(project))


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the living workers of a search that a command has started."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if child.name().startswith("tuner-worker") and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def working_after(project: Project, process: subprocess.Popen[bytes], trials: int) -> bool:
    return bool(workers_of(process)) and finished(project) >= trials


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Check that two searches had the same trials, with the same results."""
    values = [name for name in one.columns if name.startswith("hp.")]
    pd.testing.assert_frame_equal(one[["trial", *values]], other[["trial", *values]])
    assert one["score"].tolist() == pytest.approx(other["score"].tolist(), rel=1e-4)


def test_two_workers_run_exactly_the_trials_and_the_report_shows_them(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "birds")
    done = project.run(*settings(workers=2, trials=3, epochs=2, objective="metric"))
    assert done.returncode == 0, done.stdout + done.stderr
    trials = table(project)
    assert trials["trial"].tolist() == ["0", "1", "2"]
    assert set(trials["status"]) == {"completed"}
    assert set(trials["worker"]) <= {"worker-0", "worker-1"}
    assert "Tuner.deep: 3 trials; best accuracy on valid " in done.stdout
    report = max(project.root.glob("runs/*/report.html"), key=lambda file: file.stat().st_mtime)
    assert "Trials of Tuner.deep" in report.read_text()
    assert not searches(project)


@pytest.mark.soak
def test_workers_are_killed_at_ten_moments_and_each_trial_still_runs_once(tmp_path: Path) -> None:
    project = make(tmp_path / "birds")
    many = {"trials": 12, "epochs": 6, "space": SPACE}
    alone = project.run(*settings(**many))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    expected = table(project)
    command = project.command("run", "birds.yaml", *settings(workers=2, **many), "--no-cache")
    with subprocess.Popen(command, executable=command[0], cwd=project.folder, stdout=subprocess.DEVNULL) as process:
        moments = random.Random(5)
        for killed in range(10):
            eventually(partial(working_after, project, process, killed), seconds=300)
            time.sleep(moments.uniform(0, 4))
            victims = sorted(workers_of(process), key=lambda worker: worker.name() == f"tuner-worker-{killed % 2}")
            if process.poll() is None and victims:
                victims[0].kill()  # in turn, if both live
        assert process.wait(timeout=900) == 0
    trials = table(project)
    assert len(trials) == 12
    assert set(trials["status"]) == {"completed"}
    same(trials, expected)


@pytest.mark.soak
def test_an_interrupted_search_continues_unless_its_data_or_settings_have_changed(tmp_path: Path) -> None:
    project = make(tmp_path / "birds")
    many = {"trials": 8, "epochs": 6, "space": SPACE, "workers": 2}

    def interrupted() -> None:
        command = project.command("run", "birds.yaml", *settings(**many))
        with subprocess.Popen(
            command, executable=command[0], cwd=project.folder, stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            eventually(lambda: finished(project) >= 2, seconds=300)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=60)

    def log() -> str:
        return Path(next(n["log"] for n in project.last_run()["nodes"] if n["id"] == "Tuner.deep")).read_text()

    interrupted()
    before = finished(project)
    assert 2 <= before < 8
    done = project.run(*settings(**many))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"an interrupted run has finished {before} trials of this search" in log()
    continued = table(project)
    assert len(continued) == 8
    whole = project.run(*settings(**many), "--no-cache")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    same(continued, table(project))

    many["epochs"] = 5
    interrupted()
    done = project.run(*settings(**many), "--set=seed=11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "an interrupted run" not in log()
    assert not searches(project), "the search that is of no use is gone"
