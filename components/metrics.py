"""Metrics on numpy arrays with row weights, and the paired percentile bootstrap over them.

Every metric is written once, for many weightings of the same rows: what does not depend on the weights (a sort, an
error per row) is done once, the rest is vectorised over the weightings. A bootstrap resample is nothing but a weighting
by how often each row was drawn, so 1000 resamples of 100,000 rows take seconds.

Source: B. Efron and R. J. Tibshirani, An Introduction to the Bootstrap, Chapman & Hall 1993, chapter 13 (percentile
interval). Paired: all models are scored on the same resamples, so the noise that they share cancels in the difference.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serving.errors import DataError, UsageError

Floats = NDArray[np.float64]
# From weights float64 [resamples, rows] to the metric's values float64 [resamples].
Weighted = Callable[[Floats], Floats]

CLASSIFICATION = frozenset({"binary", "multiclass"})
REGRESSION = frozenset({"regression"})
PROBLEMS = CLASSIFICATION | REGRESSION

# As in Keras, so that a log loss here is the one in TFMA's tables.
_CLIP = 1e-7
# Weights held at a time (rows x resamples): 1 MB, so that a block and what is made of it stay in a processor's cache.
_BLOCK = 1 << 17


@dataclass(frozen=True)
class Metric:
    """A metric of predictions against labels.

    Attributes:
        name: As it stands in a config.
        greater_is_better: False for errors and losses.
        problems: The kinds of problem it is defined for, out of `PROBLEMS`.
        prepare: Does the work that no weight changes, and returns the function of the weights.
    """

    name: str
    greater_is_better: bool
    problems: frozenset[str]
    prepare: Callable[[NDArray, NDArray], Weighted] = field(repr=False)

    def compute(self, y: NDArray, prediction: NDArray, weights: NDArray | None = None) -> float:
        """The metric's value; NaN where it is undefined (no rows, one class only for AUC, a prediction that is NaN).

        Args:
            y: Classification: int64 [rows], class ids. Regression: float [rows, outputs].
            prediction: Classification: float [rows, classes], probabilities. Regression: float [rows, outputs].
            weights: float [rows], at least 0. Weight 2 counts as the row given twice, 0 as left out. Default: all 1.

        Raises:
            DataError: Shapes that do not fit each other, or a class id without a column.
        """
        row_weights = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
        if row_weights.shape != (len(y),):
            raise DataError(f"{self.name}: weights have shape {row_weights.shape}, expected ({len(y)},), one per row")
        return float(self.weighted(y, prediction)(row_weights[None, :])[0])

    def weighted(self, y: NDArray, prediction: NDArray) -> Weighted:
        """The metric of these rows as a function of weights [resamples, rows]; checks the arrays first."""
        y, prediction = np.asarray(y), np.asarray(prediction)
        self._check(y, prediction)
        unusable = ~np.isfinite(prediction).all(axis=1)
        if self.problems <= REGRESSION:
            unusable |= ~np.isfinite(y).all(axis=1)
            y = np.where(unusable[:, None], 0, y)
        # Zeros stand in, because NaN x weight 0 is NaN and would spoil the resamples that do not hold the row.
        of_weights = self.prepare(y, np.where(unusable[:, None], 0, prediction))

        def values(weights: Floats) -> Floats:
            undefined = (weights.sum(axis=1) <= 0) | (weights[:, unusable] > 0).any(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(undefined, np.nan, of_weights(weights))

        return values

    def _check(self, y: NDArray, prediction: NDArray) -> None:
        if self.problems <= REGRESSION:
            if y.ndim != 2 or y.shape != prediction.shape:
                raise DataError(
                    f"{self.name}: labels have shape {y.shape} and predictions {prediction.shape}, "
                    "expected [rows, outputs] for both"
                )
            return
        if y.ndim != 1 or prediction.ndim != 2 or len(y) != len(prediction):
            raise DataError(
                f"{self.name}: labels have shape {y.shape} and predictions {prediction.shape}, "
                "expected [rows] and [rows, classes]"
            )
        classes = prediction.shape[1]
        if len(y) and (y.min() < 0 or y.max() >= classes):
            raise DataError(
                f"{self.name}: class ids run from {y.min()} to {y.max()}, but the predictions have {classes} columns "
                f"(ids 0 to {classes - 1})"
            )


def _mean(per_row: NDArray) -> Weighted:
    """Weighted mean of a value per row [rows]."""
    per_row = per_row.astype(np.float64)
    return lambda weights: weights @ per_row / weights.sum(axis=1)


def _accuracy(y: NDArray, probabilities: NDArray) -> Weighted:
    return _mean(probabilities.argmax(axis=1) == y)


def _log_loss(y: NDArray, probabilities: NDArray) -> Weighted:
    of_label = probabilities[np.arange(len(y)), y].astype(np.float64)
    return _mean(-np.log(of_label.clip(_CLIP, 1 - _CLIP)))


def _auc(y: NDArray, probabilities: NDArray) -> Weighted:
    """Binary: AUC of class 1. Otherwise the unweighted mean over the classes present, each against the rest."""
    if probabilities.shape[1] == 2:
        return _binary_auc(y == 1, probabilities[:, 1])
    per_class = [_binary_auc(y == k, probabilities[:, k]) for k in np.unique(y)]

    def macro(weights: Floats) -> Floats:
        values = np.array([auc(weights) for auc in per_class]).reshape(len(per_class), len(weights))
        present = ~np.isnan(values)
        return np.where(present, values, 0).sum(axis=0) / present.sum(axis=0)

    return macro


def _binary_auc(positive: NDArray[np.bool_], score: NDArray) -> Weighted:
    """Area under the ROC curve as the Mann-Whitney statistic; tied scores share their mean rank.

    Sorted once. A positive's rank is then the weight below its group of equal scores plus half the group's own; the
    positives' ranks, less what they owe to each other (half the square of their weight), count the pairs that are won.
    """
    order = np.argsort(score, kind="stable")
    in_order = score[order]
    winners = np.flatnonzero(positive[order])
    below = np.searchsorted(in_order, in_order[winners], side="left")
    upto = np.searchsorted(in_order, in_order[winners], side="right")

    def auc(weights: Floats) -> Floats:
        ordered = weights[:, order]
        cumulative = np.zeros((len(weights), len(order) + 1))
        np.cumsum(ordered, axis=1, out=cumulative[:, 1:])
        of_positives = ordered[:, winners]
        ranks = (cumulative[:, below] + cumulative[:, upto]) / 2
        positives = of_positives.sum(axis=1)
        won = np.einsum("br,br->b", of_positives, ranks) - positives**2 / 2
        return won / (positives * (cumulative[:, -1] - positives))

    return auc


def _rmse(y: NDArray, prediction: NDArray) -> Weighted:
    mean_square = _mean(((y.astype(np.float64) - prediction) ** 2).mean(axis=1))
    return lambda weights: np.sqrt(mean_square(weights))


def _mae(y: NDArray, prediction: NDArray) -> Weighted:
    return _mean(np.abs(y.astype(np.float64) - prediction).mean(axis=1))


def _r2(y: NDArray, prediction: NDArray) -> Weighted:
    """Coefficient of determination, the mean over outputs; undefined where a label does not vary."""
    truth = y.astype(np.float64)
    square = (truth - prediction) ** 2
    # A constant label becomes exactly 0 and its variance too, whatever the rounding of the mean.
    truth = truth - truth[:1]

    def r2(weights: Floats) -> Floats:
        rows = weights.sum(axis=1)
        of_outputs = []
        for output in range(truth.shape[1]):
            mean = weights @ truth[:, output] / rows
            total = np.einsum("br,br->b", weights, (truth[:, output] - mean[:, None]) ** 2)
            # A spread below the mean's own rounding error is none: the resample drew equal labels only.
            rounding = np.finfo(np.float64).eps * len(truth) * mean
            varies = total > rows * rounding**2
            of_outputs.append(np.where(varies, 1 - weights @ square[:, output] / total, np.nan))
        return np.mean(of_outputs, axis=0)

    return r2


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("accuracy", True, CLASSIFICATION, _accuracy),
            Metric("auc", True, CLASSIFICATION, _auc),
            Metric("log_loss", False, CLASSIFICATION, _log_loss),
            Metric("rmse", False, REGRESSION, _rmse),
            Metric("mae", False, REGRESSION, _mae),
            Metric("r2", True, REGRESSION, _r2),
        )
    }
)

_DEFAULTS = {"binary": "auc", "multiclass": "accuracy", "regression": "rmse"}


def default_metric(problem: str) -> str:
    """The metric that a pipeline is judged by unless its config says otherwise.

    Raises:
        UsageError: No such kind of problem.
    """
    _known_problem(problem)
    return _DEFAULTS[problem]


def metric_for(name: str, problem: str) -> Metric:
    """The metric of that name, if it is defined for the problem.

    Raises:
        UsageError: No such metric, or one for another kind of problem; names the ones that fit.
    """
    _known_problem(problem)
    fitting = sorted(metric.name for metric in METRICS.values() if problem in metric.problems)
    if name in fitting:
        return METRICS[name]
    what = f"metric '{name}' is not defined for a {problem} problem" if name in METRICS else f"no metric '{name}'"
    raise UsageError(f"{what}; {_closest(name, fitting)}")


def _known_problem(problem: str) -> None:
    if problem not in PROBLEMS:
        raise UsageError(f"no kind of problem '{problem}'; {_closest(problem, sorted(PROBLEMS))}")


def _closest(name: str, allowed: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    return f"allowed: {', '.join(allowed)}" + (f"; did you mean '{close[0]}'?" if close else "")


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
    for counts in _counts(len(y), resamples, seed):
        for row, model in zip(scores, models, strict=True):
            row[done : done + len(counts)] = model(counts)
        done += len(counts)
    return scores


def _counts(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
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


def difference(
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
