"""The paired percentile bootstrap over metrics: how far chance alone moves a figure, and the difference of two.

A resample is nothing but a weighting of the rows by how often each was drawn, so 1000 resamples of 100,000 rows take
seconds. Paired: all models are scored on the same resamples, so the noise that they share cancels in the difference.

Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13 (percentile
interval).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.metrics import Floats, Metric

# Weights held at a time (rows x resamples): 1 MB, so that a block and what is made of it stay in a processor's cache.
_BLOCK = 1 << 17


class Interval(NamedTuple):
    """A confidence interval, both ends included; NaN where it is undefined."""

    low: float
    high: float


def bootstrap(
    metric: Metric, y: NDArray, predictions: Sequence[NDArray], resamples: int = 1000, seed: int = 0
) -> Floats:
    """The metric of every model on every bootstrap resample of the rows.

    Paired: all models see the same resamples (Efron and Tibshirani 1993). Memory stays flat: a block
    of weights at a time, a few MB or one resample, whatever the number of resamples.

    Args:
        metric: One of `METRICS`.
        y: Labels, see `Metric.compute`.
        predictions: One array per model, all for the rows of `y`.
        resamples: How many.
        seed: Equal seeds and rows draw equal resamples.

    Returns:
        float64 [models, resamples]; NaN where the resample leaves the metric undefined.

    Raises:
        DataError: See `Metric.compute`.
    """
    models = [metric.weighted(y, prediction) for prediction in predictions]
    scores = np.full((len(models), resamples), np.nan)
    done = 0
    for counts in _resample_counts(len(y), resamples, seed):
        for row, model in zip(scores, models, strict=True):
            row[done : done + len(counts)] = model(counts)
        done += len(counts)
    return scores


def _resample_counts(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn: float64 [resamples of the block, rows], multinomial, block by block."""
    if rows == 0:
        return
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // rows)
    for start in range(0, resamples, at_once):
        block = min(at_once, resamples - start)
        drawn = rng.integers(0, rows, size=(block, rows))
        # Each resample counts in a stretch of its own, so that one bincount does the whole block.
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
) -> tuple[float, Interval]:
    """By how much `prediction` is better than `other`, with its paired percentile bootstrap interval.

    Resamples in which the metric is undefined (none of a rare class drawn) are left out of the percentiles.

    Args:
        metric: One of `METRICS`.
        y: Labels, see `Metric.compute`.
        prediction: Predictions of the model in question.
        other: Predictions of the one it is compared to, for the same rows.
        confidence: Of the interval, between 0 and 1.
        resamples: How many; 1000 put the ends of a 95 % interval within a few per cent of its width.
        seed: Of the resamples.

    Returns:
        The estimate on all rows and the interval, both positive where `prediction` is the better one whichever way the
        metric points; NaN where the metric is undefined.

    Raises:
        DataError: See `Metric.compute`.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    estimate = sign * (metric.compute(y, prediction) - metric.compute(y, other))
    first, second = bootstrap(metric, y, (prediction, other), resamples, seed)
    gains = sign * (first - second)
    return estimate, percentile_interval(gains, confidence)


def percentile_interval(values: NDArray, confidence: float) -> Interval:
    """The middle `confidence` (between 0 and 1) of bootstrapped values [resamples], NaNs left out."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
