"""Measures what each raw column is worth to models: the metric that they lose if its values are shuffled.

The shuffled column has its own distribution, but tells nothing about the label (L. Breiman, Random Forests, Machine
Learning 45, 2001; A. Fisher, C. Rudin and F. Dominici, All Models are Wrong, but Many are Useful, Journal of Machine
Learning Research 20, 2019). Of two columns that tell the same, each is worth little, because the other is left.

All columns are shuffled on the same sample of rows, and many shuffled copies are answered in one call. The number of
answered rows is bounded: many columns get fewer rows each, and beyond that the columns that the members' own
importances rank last are not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.bootstrap import resample_counts
from benison.components.evaluate.metrics import Metric

Inputs = Mapping[str, NDArray]
Outputs = Mapping[str, NDArray]

MOST_ROWS = 1000  # of the sample
_FEWEST_ROWS = 250  # of the sample, if there are many columns
_ROWS_OF_COLUMN = 1000  # answers about a column, in several shuffles if the sample is smaller
_MOST_REPEATS = 10
_SCORED_ROWS = 40_000
_BLOCK_ROWS = 4096
_SECONDS = 5.0  # after which no further column is measured: a slow model must not hold up a run
_RESAMPLES = 100


@dataclass(frozen=True)
class Loss:
    """The loss of a model without the values of a column; `low` and `high` are the ends of the interval."""

    lost: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Importances:
    """The losses of all models.

    Attributes:
        metric: the metric that is lost.
        larger_is_better: of the metric; a loss above 0 always means that the column helps.
        rows: number of rows of the sample.
        repeats: number of shuffles of each column.
        models: the losses by model and column, the largest first.
        not_measured: columns beyond the bounds.
    """

    metric: str
    larger_is_better: bool
    rows: int
    repeats: int
    models: Mapping[str, Mapping[str, Loss]]
    not_measured: Sequence[str] = field(default_factory=tuple)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """The numbers of rows, shuffles and columns to measure."""

    rows: int
    repeats: int
    columns: int

    @classmethod
    def of(cls, rows: int, columns: int) -> Plan:
        """Return the plan for a split with so many rows and a model with so many columns."""
        sample = min(rows, MOST_ROWS, max(_SCORED_ROWS // max(columns, 1), _FEWEST_ROWS))
        of_all = _SCORED_ROWS // (max(sample, 1) * max(columns, 1))
        repeats = max(min(_ROWS_OF_COLUMN // max(sample, 1), of_all, _MOST_REPEATS), 1)
        return cls(sample, repeats, min(columns, max(_SCORED_ROWS // max(sample * repeats, 1), 1)))


def measure(
    inputs: Inputs,
    labels: NDArray,
    weights: NDArray | None,
    metric: Metric,
    answer: Callable[[Inputs], Outputs],
    plan: Plan,
    order: Sequence[str],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    refusals: tuple[type[Exception], ...] = (),
) -> Importances:
    """Measure the columns.

    Args:
        inputs: the sample, values [rows] or [rows, n] by column.
        labels: see `Metric.compute`.
        weights: sample weights [rows]; None if all are equal.
        metric: the metric.
        answer: returns the models' answers [rows, n] to rows, by model.
        plan: from `Plan.of`.
        order: all columns; the last ones are not measured if there are too many.
        confidence: confidence level of the intervals.
        seed: seed of the shuffles and the bootstrap.
        refusals: errors by which a model refuses shuffled rows; such columns are not measured.
    """
    rows, random = len(labels), np.random.default_rng(seed)
    if not rows:
        return Importances(metric.name, metric.greater_is_better, 0, 0, {}, tuple(order))
    shuffles = {name: [random.permutation(rows) for _ in range(plan.repeats)] for name in order[: plan.columns]}
    resamples = np.concatenate([np.ones((1, rows)), *resample_counts(rows, _RESAMPLES, seed)])
    resamples = resamples if weights is None else resamples * weights
    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def values(outputs: NDArray) -> NDArray:
        """Return the metric of all rows, then of the resamples."""
        return metric.weighted(labels, outputs)(resamples) * (1 if metric.greater_is_better else -1)

    until = time.monotonic() + _SECONDS
    whole = {model: values(outputs) for model, outputs in answer(inputs).items()}
    losses: dict[str, dict[str, Loss]] = {model: {} for model in whole}
    waiting = list(_blocks(list(shuffles), rows * plan.repeats))
    while waiting and time.monotonic() < until:
        names = waiting.pop(0)
        try:
            outputs = answer(_shuffled(inputs, {name: shuffles[name] for name in names}))
        except refusals:
            # Columns that the user's features compare with each other: find the one whose shuffled values they refuse.
            waiting[:0] = [[name] for name in names] if len(names) > 1 else []
            continue
        for model, of_model in outputs.items():
            parts = np.split(of_model, len(names) * plan.repeats)
            for number, name in enumerate(names):
                of_column = parts[number * plan.repeats : (number + 1) * plan.repeats]
                losses[model][name] = _loss(whole[model] - np.mean([values(part) for part in of_column], axis=0), z)
    measured = next(iter(losses.values()), {})
    return Importances(
        metric.name,
        metric.greater_is_better,
        rows,
        plan.repeats,
        {model: dict(sorted(found.items(), key=_by_loss)) for model, found in losses.items()},
        tuple(name for name in order if name not in measured),
    )


def ranked(columns: Sequence[str], importances: Sequence[Mapping[str, float]]) -> list[str]:
    """Order columns by the sum of their importances to members, those that no member ranks last."""
    return sorted(columns, key=lambda name: -sum(of_member.get(name, 0.0) for of_member in importances))


def _by_loss(item: tuple[str, Loss]) -> float:
    return -(item[1].lost if item[1].lost is not None else -np.inf)


def _loss(differences: NDArray, z: float) -> Loss:
    """Return the loss of all rows, and its interval by the deviation of the resamples."""
    lost, of_resamples = float(differences[0]), differences[1:][np.isfinite(differences[1:])]
    if not np.isfinite(lost) or len(of_resamples) < 2:
        return Loss(lost if np.isfinite(lost) else None, None, None)
    margin = z * float(of_resamples.std(ddof=1))
    return Loss(lost, lost - margin, lost + margin)


def _blocks(names: Sequence[str], rows: int) -> Iterator[Sequence[str]]:
    """Yield columns whose shuffled copies are answered in one call."""
    size = max(_BLOCK_ROWS // max(rows, 1), 1)
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _shuffled(inputs: Inputs, shuffles: Mapping[str, Sequence[NDArray]]) -> Inputs:
    """Return a copy of all rows for each shuffle of each column, one after the other."""
    copies = sum(map(len, shuffles.values()))
    of_all = {name: np.concatenate([values] * copies) for name, values in inputs.items()}
    position, rows = 0, len(next(iter(inputs.values())))
    for name, of_column in shuffles.items():
        for shuffle in of_column:
            of_all[name][position : position + rows] = inputs[name][shuffle]
            position += rows
    return of_all
