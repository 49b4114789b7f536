"""Tables of models' scores on `test`: every metric, whole and by slice, and how sure the differences are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.bootstrap import bootstrap, percentile_interval
from benison.components.evaluate.metrics import Costs, Metric, metrics_for
from benison.components.evaluate.scorer import Scores
from benison.components.evaluate.verdicts import finite_or_none
from benison.serving.ensemble import Ensemble
from benison.serving.errors import EnsembleError

Figures = dict[str, float | None]
MIN_SLICE_ROWS = 50  # of a slice whose differences are worth an interval


@dataclass(frozen=True)
class Resampling:
    """How the intervals are made; see `benison.components.evaluate.bootstrap`."""

    confidence: float
    resamples: int
    seed: int


def labels_of(scores: Scores) -> NDArray:
    """Class ids [rows], or targets [rows, 1]."""
    labels = scores.rows["label"].to_numpy()
    return labels if scores.classes else labels.reshape(-1, 1)


def slices_of(scores: Scores) -> dict[str, NDArray]:
    """A text for each row [rows], by column."""
    columns = [column for column in scores.rows.columns if column.startswith("slice:")]
    return {column[6:]: scores.rows[column].to_numpy().astype(object) for column in columns}


def metric_table(problem: str, costs: Costs | None, labels: NDArray, outputs: Mapping[str, NDArray]) -> dict[str, Figures]:
    """Every metric that the problem has, by model; None where it is undefined on these rows."""
    defined = metrics_for(problem, costs).items()
    return {
        model: {name: finite_or_none(metric.compute(labels, values)) for name, metric in defined}
        for model, values in outputs.items()
    }


def slice_tables(
    problem: str,
    metric: Metric,
    costs: Costs | None,
    scores: Scores,
    outputs: Mapping[str, NDArray],
    of: str,
    resampling: Resampling,
) -> dict[str, Any]:
    """The tables of each slice, such as `island=Dream`, with its number of rows."""
    labels = labels_of(scores)
    cut: dict[str, Any] = {}
    for name, here in _slice_masks(scores):
        inside = {model: output[here] for model, output in outputs.items()}
        rows = int(here.sum())
        large = rows >= MIN_SLICE_ROWS
        cut[name] = {
            "rows": rows,
            "metrics": metric_table(problem, costs, labels[here], inside),
            "gains": gain_table(metric, labels[here], inside, of, resampling) if large else {},
        }
    return cut


def gain_table(
    metric: Metric, labels: NDArray, outputs: Mapping[str, NDArray], of: str, resampling: Resampling
) -> dict[str, Figures]:
    """By how much one model is better than each of the others, with the paired bootstrap interval.

    Args:
        metric: what is compared.
        labels: see `Metric.compute`.
        outputs: predictions by model.
        of: the model whose gains they are.
        resampling: of the intervals.

    Returns:
        `gain`, `low` and `high` by model, positive where `of` is the better one; None where undefined.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    names = [of, *(name for name in outputs if name != of)]
    values = {name: metric.compute(labels, outputs[name]) for name in names}
    resampled = bootstrap(metric, labels, [outputs[name] for name in names], resampling.resamples, resampling.seed)
    table = {}
    for name, drawn in zip(names[1:], resampled[1:], strict=True):
        low, high = percentile_interval(sign * (resampled[0] - drawn), resampling.confidence)
        gain = sign * (values[of] - values[name])
        table[name] = {"gain": finite_or_none(gain), "low": finite_or_none(low), "high": finite_or_none(high)}
    return table


def leave_one_out_table(
    ensemble: Ensemble,
    problem: str,
    metric: Metric,
    costs: Costs | None,
    labels: NDArray,
    members: Mapping[str, NDArray],
    whole: NDArray,
    resampling: Resampling,
) -> dict[str, Any]:
    """What the ensemble's answer is worth where one member does not answer, by that member.

    Returns:
        `metric_table`, and what the whole ensemble's `gain` over that answer is; or `why_not`, where there is no answer.
    """
    table: dict[str, Any] = {}
    for missing in ensemble.members:
        try:
            left = ensemble.without(missing)
        except EnsembleError as error:
            table[missing] = {"why_not": str(error)}
            continue
        degraded = left.combine({name: members[name] for name in left.members}).numpy()
        both = {"whole": whole, "degraded": degraded}
        table[missing] = {
            "metrics": metric_table(problem, costs, labels, {"degraded": degraded})["degraded"],
            **gain_table(metric, labels, both, "whole", resampling)["degraded"],
        }
    return table


def _slice_masks(scores: Scores) -> Iterator[tuple[str, NDArray]]:
    """Each slice and the mask [rows] of its rows."""
    for column in (c for c in scores.rows.columns if c.startswith("slice:")):
        values = scores.rows[column]
        for value in sorted(values.unique(), key=_numeric_order):
            yield f"{column[6:]}={value or '(missing)'}", (values == value).to_numpy()


def _numeric_order(value: str) -> tuple[float, str]:
    """Sorts numbers as numbers: hour 5 before hour 10."""
    try:
        return float(value), value
    except ValueError:
        return float(np.inf), value
