"""The trials that a search has finished, one file each, so that no process repeats them.

KerasTuner's own way to continue a search reads back the state of its oracle. It repeats trials that had ended, and
counts trials that had not. But an oracle is a function of its seed and of the results of its trials. So a search begins
again with a new oracle, and a trial that was completed ends at once, with the result in its file. A trial whose worker
or chief was killed has none, and runs.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.components.train.history import EVENTS, TRIALS, History
from benison.components.tuning.goal import Goal
from benison.serving.files import atomic_file

_FOLDER, _OBJECTIVE = "trials", "objective.json"
COMPLETED, FAILED, RUNNING = "COMPLETED", "FAILED", "RUNNING"  # KerasTuner's states of a trial
IDLE, STOPPED = "IDLE", "STOPPED"  # no trial now; no further trials


@dataclass(frozen=True)
class Finished:
    """A trial that has ended.

    Attributes:
        state: of KerasTuner's Trial.
        asked: the hyperparameters that the oracle chose; the trial may have added others.
        worker: name of the process that ran it.
        seconds: how long it took.
    """

    state: Mapping[str, Any]
    asked: Mapping[str, Any]
    worker: str
    seconds: float


def keep(oracle: Any, folder: Path) -> None:
    """Let an oracle write a file for each trial that ends, and end a trial that has one.

    Args:
        oracle: KerasTuner's oracle, before its first trial. It no longer saves its state.
        folder: the folder of the search.
    """
    create, end = oracle.create_trial, oracle.end_trial
    begun: dict[str, tuple[dict[str, Any], str, float]] = {}
    files = folder / _FOLDER
    files.mkdir(parents=True, exist_ok=True)
    objective = {"name": oracle.objective.name, "direction": oracle.objective.direction}
    atomic_file.write(folder / _OBJECTIVE, json.dumps(objective))

    def create_trial(tuner_id: str) -> Any:
        while True:
            trial = create(tuner_id)
            if trial.status != RUNNING:
                return trial
            asked = dict(trial.hyperparameters.values)
            earlier = _read(files / f"{trial.trial_id}.json")
            # What failed runs again: its cause may have gone, such as a full disk.
            if earlier is None or earlier.state["status"] != COMPLETED or earlier.asked != json.loads(_json(asked)):
                first = begun.get(trial.trial_id, (asked,))[0]
                begun[trial.trial_id] = first, tuner_id, time.time()
                return trial
            _end_as(oracle, trial, earlier, end)

    def end_trial(trial: Any) -> None:
        end(trial)
        ended = oracle.trials[trial.trial_id]  # a score that is not a number has made it a failed one
        if ended.status in (COMPLETED, FAILED):
            asked, worker, start = begun[trial.trial_id]
            finished = {
                "state": ended.get_state(),
                "asked": asked,
                "worker": worker,
                "seconds": round(time.time() - start, 3),
            }
            atomic_file.write(files / f"{trial.trial_id}.json", f"{_json(finished)}\n")

    oracle.create_trial, oracle.end_trial = create_trial, end_trial
    oracle.save = oracle._save_trial = lambda *_: None


def objective(folder: Path) -> Goal:
    """Return what the trials of a search were judged by: a tuner of the user may have an objective of its own."""
    return Goal(**json.loads((folder / _OBJECTIVE).read_text(encoding="utf-8")))


def read(folder: Path) -> list[Finished]:
    """Read the finished trials of a search, in the order of their ids."""
    trials = (_read(file) for file in sorted((folder / _FOLDER).glob("*.json")))
    return [trial for trial in trials if trial is not None]


def failed_trial(reason: str) -> Exception:
    """Print why a trial failed, and return KerasTuner's exception, after which it continues with the next trial."""
    from keras_tuner.errors import FailedTrialError

    print(f"trial failed: {reason}", flush=True)
    return FailedTrialError(reason)


@dataclass(frozen=True)
class Histories:
    """The losses and the event files of the trials of a search, in its folder.

    Attributes:
        folder: the folder of the search.
    """

    folder: Path

    def events(self, trial_id: str) -> Path:
        """Return the empty folder for the event files of a trial that begins."""
        folder = self.folder / EVENTS / trial_id
        shutil.rmtree(folder, ignore_errors=True)  # of a worker that was killed
        return folder

    def keep(self, trial_id: str, history: History | None) -> None:
        """Write the losses of a trial, as JSON and as event files."""
        if history is not None:
            history.save(self.folder / TRIALS / f"{trial_id}.json")
            history.write_events(self.folder / EVENTS / trial_id)

    def copy_to(self, results: Path) -> None:
        """Copy all of them into the artifact of the results."""
        for name in (EVENTS, TRIALS):
            if (self.folder / name).is_dir():
                shutil.copytree(self.folder / name, results / name, dirs_exist_ok=True)


def _read(file: Path) -> Finished | None:
    return Finished(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _json(value: Any) -> str:
    """Return JSON; a user's tuner may report numbers of NumPy."""
    return json.dumps(value, default=lambda number: number.item())


def _end_as(oracle: Any, trial: Any, earlier: Finished, end: Any) -> None:
    """End a trial with the result of an earlier one."""
    from keras_tuner.engine.trial import Trial

    result = Trial.from_state(earlier.state)
    oracle.trials[trial.trial_id].metrics = result.metrics
    end(result)
