"""The outputs of the Tuner: the best hyperparameters, and all trials as JSON and as a Parquet table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benison.components import users_line
from benison.components.tuning.finished_trials import COMPLETED, Finished
from benison.components.tuning.goal import Goal
from benison.serving.errors import UsageError

BEST, TRIALS = "best_hyperparameters.txt", "tuner_results.json"  # as TFX's Tuner names them
TABLE = "trials.parquet"
PREFIX = "hp."  # of the columns of hyperparameters


def best_first(trials: Sequence[Finished], goal: Goal) -> list[Finished]:
    """Return the trials, best first, then those that failed; equal ones in the order in which they were chosen.

    Raises:
        UsageError: all trials failed; the message has the first one's reason.
    """
    completed = [trial for trial in trials if trial.state["status"] == COMPLETED]
    if not completed:
        message = (trials[0].state["message"] or "").strip() if trials else "there was none"
        place = users_line.place_in(message)
        reason = f"{''.join(message.splitlines()[-1:])}{f' ({place})' if place else ''}"
        raise UsageError(f"all {len(trials)} trials of the Tuner failed; the first one: {reason}")
    sign = -1 if goal.direction == "max" else 1
    failed = [trial for trial in trials if trial.state["status"] != COMPLETED]
    return sorted(completed, key=lambda trial: sign * trial.state["score"]) + failed


def write(trials: Sequence[Finished], goal: Goal, best: Path, results: Path) -> None:
    """Write the outputs of the Tuner.

    Args:
        trials: from `best_first`.
        goal: what they were judged by.
        best: the artifact of the best hyperparameters.
        results: the artifact of the results.
    """
    best.joinpath(BEST).write_text(json.dumps(trials[0].state["hyperparameters"]), encoding="utf-8")
    records = [
        {"trial_id": trial.state["trial_id"], "score": trial.state["score"], **_values(trial)}
        for trial in trials
        if trial.state["status"] == COMPLETED
    ]
    results.joinpath(TRIALS).write_text(json.dumps(records), encoding="utf-8")
    _write_table(trials, goal, results / TABLE)


def _write_table(trials: Sequence[Finished], goal: Goal, file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "trial": [str(trial.state["trial_id"]) for trial in trials],
        "status": [str(trial.state["status"]).lower() for trial in trials],
        "score": pa.array([trial.state["score"] for trial in trials], pa.float64()),
        "seconds": pa.array([trial.seconds for trial in trials], pa.float64()),
        "worker": [trial.worker for trial in trials],
        "reason": [_reason(trial) for trial in trials],
    }
    for name in dict.fromkeys(name for trial in trials for name in _values(trial)):
        columns[PREFIX + name] = _column([_values(trial).get(name) for trial in trials])
    table = pa.table(columns)
    about = {"objective": goal.name, "direction": goal.direction}
    pq.write_table(table.replace_schema_metadata({"benison": json.dumps(about)}), file)


def _column(values: Sequence[Any]) -> Any:
    """Return values as a column; values of different types become text."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values])


def _values(trial: Finished) -> dict[str, Any]:
    return dict(trial.state["hyperparameters"]["values"])


def _reason(trial: Finished) -> str:
    """Return the last line of a trial's error; '' for a completed trial."""
    message = (trial.state["message"] or "").strip()
    return "".join(message.splitlines()[-1:])
