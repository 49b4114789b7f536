"""The runs of a pipeline side by side: what each measured, what was set, and what changed since the run before."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benison.pipelines.drawings.numbers import figure
from benison.pipelines.records.runs import Run
from benison.pipelines.reports.tables import DataTable

_UNSUCCESSFUL = ("failed", "invalid", "not_blessed", "not_pushed")


@dataclass(frozen=True)
class ComparedRun:
    """A run and how its metric differs from that of the run before.

    Attributes:
        run: the run.
        metric: the metric's name; '' if the run ended before it was measured.
        value: of the ensemble on `test`; None if there is none, or it is undefined.
        change: the value less that of the pipeline's last run before with the same metric; None without one.
        why: the node that failed or refused, and its reason.
        is_first: it is the first run of its pipeline.
    """

    run: Run
    metric: str
    value: float | None
    change: float | None
    why: str
    is_first: bool

    @property
    def outcome(self) -> str:
        """Return the outcome, whether a pushed version is not promoted, and the part of a partial run."""
        pushed = self.run.outputs("PushedModel")
        is_waiting = self.run.outcome == "pushed" and pushed and "not_promoted" in pushed[-1]["properties"]
        outcome = "pushed, not promoted" if is_waiting else self.run.outcome
        return f"{outcome}, {self.run.options}" if self.run.part else outcome

    @property
    def differs(self) -> str:
        """Return what the run depended on that was not as in the run before it."""
        if self.run.repeats:
            return f"nothing since {self.run.repeats}"
        if self.run.changed is None:
            return "" if self.is_first else "?"
        return ", ".join(self.run.changed) or "nothing"


def compared(history: Sequence[Run]) -> list[ComparedRun]:
    """Compare runs with those before them.

    Args:
        history: runs of any pipelines, oldest first.
    """
    last: dict[tuple[str, str], float] = {}
    rows: list[ComparedRun] = []
    pipelines: set[str] = set()
    for run in history:
        measured = run.measured() or {}
        name, value = str(measured.get("name", "")), measured.get("value")
        if value is not None and not math.isfinite(value):
            value = None
        before = last.get((run.pipeline, name))
        change = None if value is None or before is None else value - before
        if value is not None:
            last[run.pipeline, name] = value
        why = next((f"{node.id}: {node.reason}" for node in run.nodes if node.state in _UNSUCCESSFUL), "")
        rows.append(ComparedRun(run, name, value, change, why, run.pipeline not in pipelines))
        pipelines.add(run.pipeline)
    return rows


def overview(history: Sequence[Run]) -> DataTable:
    """Return a table of runs of any pipelines."""
    table = DataTable("run", "pipeline", "started", "seconds", "outcome", "why")
    for row in compared(history):
        table.add_row(row.run.id, row.run.pipeline, _started(row.run), _seconds(row.run), row.outcome, row.why)
    return table


def comparison(history: Sequence[Run]) -> DataTable:
    """Return a table of the runs of one pipeline, with metrics and changes."""
    table = DataTable("run", "started", "seconds", "outcome", "metric", "value", "change", "--set", "changed", "why")
    for row in compared(history):
        sets = ", ".join(f"{key}={value}" for key, value in row.run.sets.items())
        change = "-" if row.change is None else figure(round(row.change, 12) + 0.0, row.value, sign="+")
        table.add_row(
            row.run.id,
            _started(row.run),
            _seconds(row.run),
            row.outcome,
            row.metric,
            figure(row.value),
            change,
            sets,
            row.differs,
            row.why,
        )
    return table


def as_json(history: Sequence[Run]) -> str:
    """Return runs as a JSON list of objects, oldest first."""
    return json.dumps([_plain(row) for row in compared(history)], indent=2)


def _plain(row: ComparedRun) -> dict[str, Any]:
    run = row.run
    return {
        "run": run.id,
        "pipeline": run.pipeline,
        "started": run.started,
        "seconds": run.seconds,
        "outcome": run.outcome,
        "metric": row.metric or None,
        "value": row.value,
        "change": row.change,
        "set": dict(run.sets),
        "changed": run.changed,
        "repeats": run.repeats or None,
        "part": dict(run.part),
        "spans": list(run.window),
        "why": row.why,
    }


def _started(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))


def _seconds(run: Run) -> str:
    return f"{run.seconds or 0:.0f}"
