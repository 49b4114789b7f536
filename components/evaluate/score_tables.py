"""Tables of models' scores on `test`: every metric, in total and by slice, and intervals of the differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.bootstrap import bootstrap, percentile_interval
from benison.components.evaluate.metrics import Metric
from benison.components.evaluate.scorer import Scores
from benison.components.evaluate.verdicts import finite_or_none
from benison.components.sample_weights import effective_rows
from benison.serving.ensemble import Ensemble
from benison.serving.errors import EnsembleError

Figures = dict[str, float | None]
MIN_SLICE_ROWS = 50  # of equal weight; smaller slices get no intervals


@dataclass(frozen=True)
class Resampling:
    """Settings of the intervals; see `benison.components.evaluate.bootstrap`."""

    confidence: float
    resamples: int
    seed: int


def labels_of(scores: Scores) -> NDArray:
    """Return class ids [rows], or targets [rows, 1]."""
    labels = scores.rows["label"].to_numpy()
    return labels if scores.classes else labels.reshape(-1, 1)


def slices_of(scores: Scores) -> dict[str, NDArray]:
    """Return the text of each row [rows], by slice column."""
    columns = [column for column in scores.rows.columns if column.startswith("slice:")]
    return {column[6:]: scores.rows[column].to_numpy().astype(object) for column in columns}


def metric_table(
    metrics: Mapping[str, Metric],
    labels: NDArray,
    outputs: Mapping[str, NDArray],
    weights: NDArray | None = None,
) -> dict[str, Figures]:
    """Compute every metric, by model; None if it is undefined on these rows."""
    return {
        model: {name: finite_or_none(metric.compute(labels, values, weights)) for name, metric in metrics.items()}
        for model, values in outputs.items()
    }


def slice_tables(
    metrics: Mapping[str, Metric],
    metric: Metric,
    scores: Scores,
    outputs: Mapping[str, NDArray],
    of: str,
    resampling: Resampling,
) -> dict[str, Any]:
    """Compute the tables of each slice, such as `island=Dream`, with its number of rows.

    Args:
        metrics: the metrics to compute.
        metric: the one to compare the models by.
        scores: labels, sample weights and slices of the rows.
        outputs: predictions by model.
        of: name of the model whose gains are measured.
        resampling: settings of the intervals.
    """
    labels, weights = labels_of(scores), scores.weights
    tables: dict[str, Any] = {}
    for name, mask in _slice_masks(scores):
        slice_outputs = {model: output[mask] for model, output in outputs.items()}
        rows = int(mask.sum())
        of_rows = None if weights is None else weights[mask]
        large = (rows if of_rows is None else effective_rows(of_rows)) >= MIN_SLICE_ROWS
        tables[name] = {
            "rows": rows,
            "metrics": metric_table(metrics, labels[mask], slice_outputs, of_rows),
            "gains": gain_table(metric, labels[mask], slice_outputs, of, resampling, of_rows) if large else {},
        }
    return tables


def gain_table(
    metric: Metric,
    labels: NDArray,
    outputs: Mapping[str, NDArray],
    of: str,
    resampling: Resampling,
    weights: NDArray | None = None,
) -> dict[str, Figures]:
    """Measure the gain of one model over each of the others, with the paired bootstrap interval.

    Args:
        metric: the metric to compare.
        labels: see `Metric.compute`.
        outputs: predictions by model.
        of: name of the model whose gains are measured.
        resampling: settings of the intervals.
        weights: sample weights [rows]; None if all are equal.

    Returns:
        `gain`, `low` and `high` by model, positive if `of` is better; None if undefined.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    names = [of, *(name for name in outputs if name != of)]
    values = {name: metric.compute(labels, outputs[name], weights) for name in names}
    in_order = [outputs[name] for name in names]
    resampled = bootstrap(metric, labels, in_order, resampling.resamples, resampling.seed, weights)
    table = {}
    for name, drawn in zip(names[1:], resampled[1:], strict=True):
        low, high = percentile_interval(sign * (resampled[0] - drawn), resampling.confidence)
        gain = sign * (values[of] - values[name])
        table[name] = {"gain": finite_or_none(gain), "low": finite_or_none(low), "high": finite_or_none(high)}
    return table


def leave_one_out_table(
    ensemble: Ensemble,
    metrics: Mapping[str, Metric],
    metric: Metric,
    labels: NDArray,
    members: Mapping[str, NDArray],
    whole: NDArray,
    resampling: Resampling,
    weights: NDArray | None = None,
) -> dict[str, Any]:
    """Measure the quality of the ensemble without each member, by member.

    Returns:
        `metrics` of the ensemble without the member, and the `gain` of the whole ensemble over it; or `why_not`, if the
        ensemble cannot answer without the member.
    """
    table: dict[str, Any] = {}
    for missing in ensemble.members:
        try:
            reduced = ensemble.without(missing)
        except EnsembleError as error:
            table[missing] = {"why_not": str(error)}
            continue
        degraded = reduced.combine({name: members[name] for name in reduced.members}).numpy()
        outputs = {"whole": whole, "degraded": degraded}
        table[missing] = {
            "metrics": metric_table(metrics, labels, {"degraded": degraded}, weights)["degraded"],
            **gain_table(metric, labels, outputs, "whole", resampling, weights)["degraded"],
        }
    return table


def _slice_masks(scores: Scores) -> Iterator[tuple[str, NDArray]]:
    """Yield each slice and the mask [rows] of its rows."""
    for column in (c for c in scores.rows.columns if c.startswith("slice:")):
        values = scores.rows[column]
        for value in sorted(values.unique(), key=_numeric_order):
            yield f"{column[6:]}={value or '(missing)'}", (values == value).to_numpy()


def _numeric_order(value: str) -> tuple[float, str]:
    """Return a sort key that sorts numbers as numbers: hour 5 before hour 10."""
    try:
        return float(value), value
    except ValueError:
        return float(np.inf), value
