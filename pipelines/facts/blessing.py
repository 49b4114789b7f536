"""Read the Blessing's verdicts and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "blessing.json"
ENSEMBLE, SERVED = "ensemble", "served"
_LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "mae", "rmse", "mse", "cost", "brier"})


@dataclass(frozen=True)
class Rule:
    """A rule and what it found.

    Attributes:
        name: the rule, such as `accuracy >= 0.85`.
        metric: the metric that it is about.
        state: passed, warning or refused.
        value: metric of the ensemble; None if it was not needed.
        bound: what it was compared with: the metric of another model, or a limit.
        gain: how much better the ensemble is than the other model; None if the rule compares with a limit.
        low: lower end of the gain's interval.
        high: upper end.
        reason: one sentence with the figures.
        too_few_rows: the rule could not judge.
    """

    name: str
    metric: str
    state: str
    value: float | None
    bound: float | None
    gain: float | None
    low: float | None
    high: float | None
    reason: str
    too_few_rows: bool


@dataclass(frozen=True)
class Slice:
    """The rows of one value of a column.

    Attributes:
        name: such as `island=Dream`.
        rows: number of rows.
        values: the metric by model; None where it is undefined.
        metrics: all metrics, by model.
        gains: by model, `gain`, `low` and `high` of the ensemble over it; empty for small slices.
    """

    name: str
    rows: int
    values: Mapping[str, float | None]
    metrics: Mapping[str, Mapping[str, float | None]]
    gains: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Blessing:
    """The content of `blessing.json`.

    Attributes:
        blessed: the ensemble may be pushed.
        metric: the metric of the pipeline.
        greater_is_better: of this metric.
        rules: in the order of the file.
        models: names of the members, then the ensemble, then the served version.
        metrics: all metrics on `test`, by model.
        gains: by model, `gain`, `low` and `high` of the ensemble over it.
        without: by member, `gain`, `low` and `high` of the ensemble over the ensemble without it, or `why_not`.
        slices: worst first.
        classes: names; empty for regression.
        positive: the positive class; '' if there is none.
        threshold: the lowest probability that decides for it; None if the most likely class is the decision.
        weight: `column`, `rows` and `effective_rows`; None if all rows count the same.
        baseline: `version` and `path`, or `why_not`.
        interval: of regression answers, see `components.evaluate`; None if it was not measured.
    """

    blessed: bool
    metric: str
    greater_is_better: bool
    rules: Sequence[Rule]
    models: Sequence[str]
    metrics: Mapping[str, Mapping[str, float | None]]
    gains: Mapping[str, Mapping[str, float | None]]
    without: Mapping[str, Mapping[str, Any]]
    slices: Sequence[Slice]
    classes: Sequence[str]
    positive: str
    threshold: float | None
    weight: Mapping[str, Any] | None
    baseline: Mapping[str, Any]
    interval: Mapping[str, Any] | None

    @property
    def problem(self) -> str:
        """The problem: binary, multiclass or regression."""
        return "binary" if self.positive else "multiclass" if self.classes else "regression"


def read(folder: Path) -> Blessing | None:
    """Read an artifact of type ModelBlessing; None for that of TFX's Evaluator, which is empty.

    Raises:
        OSError: the artifact no longer exists.
    """
    file = folder / FILE
    if not file.is_file():
        if not folder.is_dir():
            raise FileNotFoundError(f"no blessing in {folder}")
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    metric, metrics = data["metric"], data["metrics"]
    last = [name for name in (ENSEMBLE, SERVED) if name in metrics]
    greater = _greater_is_better(metric, metrics, data["gains"])
    return Blessing(
        data["blessed"],
        metric,
        greater,
        [_rule(verdict, metric) for verdict in data["verdicts"]],
        [*(name for name in metrics if name not in last), *last],
        metrics,
        data["gains"],
        data["without"],
        _worst_first(data["slices"], metric, greater),
        data["classes"],
        data.get("positive") or "",
        data.get("threshold"),
        data.get("weight"),
        data.get("baseline") or {},
        data.get("interval"),
    )


def _greater_is_better(metric: str, metrics: Mapping[str, Any], gains: Mapping[str, Any]) -> bool:
    """Return False for an error. Gains are positive if the ensemble is better, whatever the metric."""
    for model, gain in gains.items():
        ours, other = metrics[ENSEMBLE].get(metric), metrics.get(model, {}).get(metric)
        if ours is not None and other is not None and gain.get("gain") and ours != other:
            return bool((gain["gain"] > 0) == (ours > other))
    return metric not in _LOWER_IS_BETTER


def _rule(verdict: Mapping[str, Any], metric: str) -> Rule:
    name = verdict["rule"]
    first = name.split(" ", 1)[0]
    value, bound, interval = verdict["value"], verdict["bound"], verdict["interval"]
    gain = None
    if interval and value is not None and bound is not None:
        # The interval is that of the gain, whose sign depends on whether the metric is an error.
        middle = sum(interval) / 2
        gain = min(value - bound, bound - value, key=lambda difference: abs(difference - middle))
    return Rule(
        name,
        metric if first.startswith(("better_than", "not_worse_than")) else first,
        "passed" if verdict["passed"] else "warning" if verdict.get("warning") else "refused",
        value,
        bound,
        gain,
        interval[0] if interval else None,
        interval[1] if interval else None,
        verdict["reason"],
        bool(verdict.get("too_few_rows")),
    )


def _worst_first(slices: Mapping[str, Any], metric: str, greater: bool) -> list[Slice]:
    found = [
        Slice(
            name,
            cut["rows"],
            {model: values.get(metric) for model, values in cut["metrics"].items()},
            cut["metrics"],
            cut["gains"],
        )
        for name, cut in slices.items()
    ]

    def badness(cut: Slice) -> tuple[bool, float]:
        value = cut.values.get(ENSEMBLE)
        return value is None, 0.0 if value is None else value if greater else -value

    return sorted(found, key=badness)
