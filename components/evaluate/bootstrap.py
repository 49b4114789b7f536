"""The paired percentile bootstrap: confidence intervals of metrics and of differences between models.

A resample is a weighting of the rows by the number of times each was drawn, so 1000 resamples of 100,000 rows take
seconds. Paired: all models are scored on the same resamples, so their common noise cancels in the difference.

Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13 (percentile
interval).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.metrics import Floats, Metric

# Weights per block (rows x resamples): 1 MB, so that a block and its intermediate results fit into the CPU cache.
BLOCK_SIZE = 1 << 17


class Interval(NamedTuple):
    """A confidence interval, both ends inclusive; NaN if it is undefined."""

    low: float
    high: float


def bootstrap(
    metric: Metric,
    y: NDArray,
    predictions: Sequence[NDArray],
    resamples: int = 1000,
    seed: int = 0,
    weights: NDArray | None = None,
) -> Floats:
    """Compute the metric of every model on every bootstrap resample of the rows.

    Paired: all models are scored on the same resamples (Efron and Tibshirani 1993). Resamples are processed in blocks
    of a few MB, so memory does not grow with their number.

    Args:
        metric: one of `METRICS`.
        y: labels, see `Metric.compute`.
        predictions: one array per model, for the rows of `y`.
        resamples: number of resamples.
        seed: the same seed and rows give the same resamples.
        weights: sample weight of each row [rows]: a row is drawn as often as any other, and counts by its weight each
            time. None if all are equal.

    Returns:
        float64 [models, resamples]; NaN if the metric is undefined on a resample.

    Raises:
        DataError: see `Metric.compute`.
    """
    models = [metric.weighted(y, prediction) for prediction in predictions]
    scores = np.full((len(models), resamples), np.nan)
    done = 0
    for counts in resample_counts(len(y), resamples, seed):
        for row, model in zip(scores, models, strict=True):
            row[done : done + len(counts)] = model(counts if weights is None else counts * weights)
        done += len(counts)
    return scores


def resample_counts(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw how often each row occurs in each resample; yield blocks float64 [resamples of the block, rows]."""
    if rows == 0:
        return
    rng = np.random.default_rng(seed)
    per_block = max(1, BLOCK_SIZE // rows)
    for start in range(0, resamples, per_block):
        block = min(per_block, resamples - start)
        drawn = rng.integers(0, rows, size=(block, rows))
        # Each resample has its own range of indices, so that one bincount counts the whole block.
        drawn += np.arange(block)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=block * rows).reshape(block, rows).astype(np.float64)


def paired_difference(
    metric: Metric,
    y: NDArray,
    prediction: NDArray,
    other: NDArray,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    weights: NDArray | None = None,
) -> tuple[float, Interval]:
    """Measure the gain of `prediction` over `other`, with its paired percentile bootstrap interval.

    Resamples on which the metric is undefined (no row of a rare class was drawn) do not count in the percentiles.

    Args:
        metric: one of `METRICS`.
        y: labels, see `Metric.compute`.
        prediction: predictions of the model.
        other: predictions of the model that it is compared with, for the same rows.
        confidence: confidence level of the interval, between 0 and 1.
        resamples: number of resamples; with 1000 the ends of a 95 % interval are exact to a few per cent of its width.
        seed: seed of the resamples.
        weights: sample weights [rows]; None if all are equal.

    Returns:
        The gain on all rows and its interval, both positive if `prediction` is better, also for metrics that are
        better when smaller; NaN if the metric is undefined.

    Raises:
        DataError: see `Metric.compute`.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    estimate = sign * (metric.compute(y, prediction, weights) - metric.compute(y, other, weights))
    first, second = bootstrap(metric, y, (prediction, other), resamples, seed, weights)
    gains = sign * (first - second)
    return estimate, percentile_interval(gains, confidence)


def percentile_interval(values: NDArray, confidence: float) -> Interval:
    """Compute the central interval with the share `confidence` of bootstrapped values [resamples]; skip NaN."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
