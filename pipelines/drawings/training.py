"""Draw how members were trained: curves by epoch or tree, and the trials of tuners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Table
from benison.pipelines.drawings.marks import color_by, quantity
from benison.pipelines.drawings.numbers import figure, short
from benison.pipelines.facts.training import Foreign, History, Search

_MOST_POINTS = 300


def history(found: History, name: str) -> list[Chart]:
    """Draw the metrics of a training, one chart per metric with `train` and `valid`."""
    bases = dict.fromkeys(metric.removeprefix("val_") for metric in found.metrics)
    charts = []
    for base in bases:
        rows: list[dict[str, Any]] = []
        for metric, split in ((base, "train"), (f"val_{base}", "valid")):
            values = found.metrics.get(metric, ())
            step = max(1, len(values) // _MOST_POINTS)
            rows += [
                {"x": at + 1, "y": value, "split": split}
                for at, value in enumerate(values)
                if value is not None and (at % step == 0 or at == len(values) - 1)
            ]
        if not rows:
            continue
        colors = theme.split_colors(["train", "valid"])
        axis = quantity(
            "x",
            found.unit,
            axis={"values": _ticks(max(row["x"] for row in rows)), "format": "d"},
            scale={"zero": False},
        )
        layers: list[dict[str, Any]] = [
            {
                "data": {"values": rows},
                "mark": {"type": "line", "point": {"size": 18} if len(rows) < 60 else False},
                "encoding": {
                    "x": axis,
                    "y": quantity("y", base, scale={"zero": False}),
                    "color": color_by("split", colors),
                },
            }
        ]
        if found.best is not None:
            layers.append(
                {
                    "data": {"values": [{"x": found.best + 1}]},
                    "mark": {"type": "rule", "strokeDash": [3, 3], "color": theme.MUTED},
                    "encoding": {"x": axis},
                }
            )
        last = {row["split"]: row["y"] for row in rows}
        text = "; ".join(f"{split} ends at {short(value)}" for split, value in last.items())
        note = f"The dashed line is the {found.unit} that was kept." if found.best is not None else ""
        charts.append(Chart(f"{name}: {base}", text, {"layer": layers}, note=note, height=180, small=True))
    return charts


def foreign(members: Mapping[str, Foreign]) -> Table:
    """Draw the members that were trained elsewhere, by name."""
    rows = [
        [
            name,
            member.kind,
            member.path,
            ", ".join(f"{key}: {' '.join(columns)}" for key, columns in member.columns.items()),
            ", ".join(f"{column}: {value}" for column, value in member.missing.items()),
            Cell("it may have", mark="warn") if member.has_seen else "none",
        ]
        for name, member in members.items()
    ]
    headers = [
        "member",
        "kind",
        "model",
        "columns of its inputs",
        "for a missing cell",
        "rows of this data that it has seen",
    ]
    return Table("Members that were trained elsewhere", headers, rows)


def _ticks(last: int) -> list[int]:
    """Return at most seven whole numbers from 1 to the last one; Vega would put ticks between them, too."""
    step = next(s * 10**power for power in range(12) for s in (1, 2, 5) if s * 10**power * 6 >= last)
    return [1, *range(step, last + 1, step)] if step > 1 else list(range(1, last + 1))


def trials(found: Search, name: str) -> Table:
    """Draw the trials of a tuner, best first, with their hyperparameters."""
    values = list(dict.fromkeys(key for trial in found.trials for key in trial.values))
    scores = [trial.score for trial in found.trials if trial.score is not None]
    largest = max(scores, default=1.0) or 1.0
    workers = {trial.worker for trial in found.trials}
    rows = [
        [
            trial.id,
            Cell(
                figure(trial.score) if trial.score is not None else f"failed: {trial.reason}".removesuffix(": "),
                float("inf") if trial.score is None else trial.score,
                "strong" if number == 0 else "",
                None if trial.score is None or largest <= 0 else trial.score / largest,
            ),
            *(_value(trial.values.get(key)) for key in values),
            None if trial.seconds is None else Cell(f"{trial.seconds:.1f}", trial.seconds),
            trial.worker if len(workers) > 1 else None,
        ]
        for number, trial in enumerate(found.trials)
    ]
    headers = ["trial", f"{found.objective.removeprefix('val_')} on valid", *values, "seconds", "worker"]
    return Table(f"Trials of {name}, best first", headers, rows, most=15)


def _value(value: Any) -> Cell:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Cell(short(value), float(value))
    return Cell("-" if value is None else str(value))
