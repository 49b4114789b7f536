"""Metrics on numpy arrays with row weights.

Every metric is computed for many weightings of the same rows at once: work that does not depend on the weights (a sort,
an error per row) is done once, the rest is vectorised over the weightings. A bootstrap resample
(`benison.components.evaluate.bootstrap`) is such a weighting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

Floats = NDArray[np.float64]
# From weights float64 [resamples, rows] to the metric's values float64 [resamples].
WeightedMetric = Callable[[Floats], Floats]

BINARY = frozenset({"binary"})
CLASSIFICATION = frozenset({"binary", "multiclass"})
REGRESSION = frozenset({"regression"})
PROBLEMS = CLASSIFICATION | REGRESSION

# The value of Keras, so that the log loss equals the one in TFMA's tables.
_PROBABILITY_CLIP = 1e-7
_CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Costs:
    """Costs of mistakes, in any unit; class 1 is the positive class, and correct predictions cost nothing."""

    false_negative: float
    false_positive: float

    @property
    def threshold(self) -> float:
        """Lowest probability of class 1 at which acting on it is cheaper (Elkan 2001, equation 2)."""
        return self.false_positive / (self.false_negative + self.false_positive)


@dataclass(frozen=True)
class Decision:
    """The rule by which an ensemble turns probabilities into the class that it decides for.

    Attributes:
        threshold: lowest probability that decides for class 1; None: the most likely class is the decision.
        costs: costs of mistakes of a binary problem; None if they are unknown.
    """

    threshold: float | None = None
    costs: Costs | None = None

    @classmethod
    def cheapest(cls, costs: Costs) -> Decision:
        """Return the decision with the lowest expected cost."""
        return cls(costs.threshold, costs)

    def classes(self, probabilities: NDArray) -> NDArray:
        """Return the id of the decision [rows], the same as `Ensemble.decide` of `benison.serving.ensemble`."""
        if self.threshold is None:
            return probabilities.argmax(axis=1)
        # In float32, as the served model compares: a probability that is rounded to the threshold reaches it.
        return (probabilities[:, 1].astype(np.float32) >= np.float32(self.threshold)).astype(np.int64)


MOST_LIKELY = Decision()


@dataclass(frozen=True)
class Metric:
    """A metric of predictions against labels.

    Attributes:
        name: name in a config.
        greater_is_better: False for errors and losses.
        problems: the problems of `PROBLEMS` that it is defined for.
        prepare: does the work that does not depend on weights, and returns the function of the weights.
        ends: the lowest and the highest possible value.
        of_decisions: it measures the decision for one class, not the probabilities.
        simulated: `benison.components.evaluate.power` may compute it a hundred thousand times on made-up answers.
    """

    name: str
    greater_is_better: bool
    problems: frozenset[str]
    prepare: Callable[[NDArray, NDArray], WeightedMetric] = field(repr=False)
    ends: tuple[float, float] = (0.0, 1.0)
    of_decisions: bool = False
    simulated: bool = True

    def compute(self, y: NDArray, prediction: NDArray, weights: NDArray | None = None) -> float:
        """Compute the metric; NaN if it is undefined (no rows, one class only for AUC, a prediction that is NaN).

        Args:
            y: classification: int64 [rows], class ids; regression: float [rows, outputs].
            prediction: classification: float [rows, classes], probabilities; regression: float [rows, outputs].
            weights: float [rows], at least 0. A row with weight 2 counts twice, with weight 0 not at all. Defaults to
                1 for all rows.

        Raises:
            DataError: shapes that do not match, or a class id without a column.
        """
        row_weights = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
        if row_weights.shape != (len(y),):
            raise DataError(f"{self.name}: weights have shape {row_weights.shape}, expected ({len(y)},), one per row")
        return float(self.weighted(y, prediction)(row_weights[None, :])[0])

    def weighted(self, y: NDArray, prediction: NDArray) -> WeightedMetric:
        """Check the arrays, and return the metric of these rows as a function of weights [resamples, rows]."""
        y, prediction = np.asarray(y), np.asarray(prediction)
        self._check(y, prediction)
        unusable = ~np.isfinite(prediction).all(axis=1)
        if self.problems <= REGRESSION:
            unusable |= ~np.isfinite(y).all(axis=1)
            y = np.where(unusable[:, None], 0, y)
        # Replace by 0, because NaN x weight 0 is NaN and would affect resamples that do not contain the row.
        metric_of_weights = self.prepare(y, np.where(unusable[:, None], 0, prediction))

        def values(weights: Floats) -> Floats:
            undefined = (weights.sum(axis=1) <= 0) | (weights[:, unusable] > 0).any(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(undefined, np.nan, metric_of_weights(weights))

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


def _weighted_mean(per_row: NDArray) -> WeightedMetric:
    """Return the weighted mean of a value per row [rows], as a function of the weights."""
    per_row = per_row.astype(np.float64)
    return lambda weights: weights @ per_row / weights.sum(axis=1)


def _accuracy(decision: Decision) -> Callable[[NDArray, NDArray], WeightedMetric]:
    """Return the share of rows whose decision is the label."""
    return lambda y, probabilities: _weighted_mean(decision.classes(probabilities) == y)


def _of_decisions(
    figure: Callable[[Floats, Floats, Floats], Floats],
) -> Callable[[Decision], Callable[[NDArray, NDArray], WeightedMetric]]:
    """Return a metric of the decisions: of class 1, or for multiclass the unweighted mean over the present classes.

    It is undefined where no row has the label. Decisions that no row gets count as wrong ones: precision is 0 then.

    Args:
        figure: from the weights of the hits, of the decisions and of the labels of a class, each float64 [resamples,
            classes], to its figure.
    """

    def of_decision(decision: Decision) -> Callable[[NDArray, NDArray], WeightedMetric]:
        def prepare(y: NDArray, probabilities: NDArray) -> WeightedMetric:
            ids = np.array([1]) if probabilities.shape[1] == 2 else np.unique(y)
            labelled = (y[:, None] == ids).astype(np.float64)
            decided = (decision.classes(probabilities)[:, None] == ids).astype(np.float64)

            def macro(weights: Floats) -> Floats:
                hits, decisions, labels = weights @ (labelled * decided), weights @ decided, weights @ labelled
                figures, present = figure(hits, decisions, labels), labels > 0
                return np.where(present, figures, 0).sum(axis=1) / present.sum(axis=1)

            return macro

        return prepare

    return of_decision


_precision = _of_decisions(lambda hits, decisions, labels: np.where(decisions > 0, hits / decisions, 0))
_recall = _of_decisions(lambda hits, decisions, labels: hits / labels)
_f1 = _of_decisions(lambda hits, decisions, labels: 2 * hits / (decisions + labels))


def _log_loss(y: NDArray, probabilities: NDArray) -> WeightedMetric:
    of_label = probabilities[np.arange(len(y)), y].astype(np.float64)
    return _weighted_mean(-np.log(of_label.clip(_PROBABILITY_CLIP, 1 - _PROBABILITY_CLIP)))


def _cost(decision: Decision, costs: Costs) -> Callable[[NDArray, NDArray], WeightedMetric]:
    """Return the mean cost of the decisions per row: the action is taken where the probabilities make it cheaper.

    Source: C. Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001. With wrong probabilities the action falls
    on the wrong rows, so the metric measures calibration too.
    """

    def prepare(y: NDArray, probabilities: NDArray) -> WeightedMetric:
        acts = decision.classes(probabilities) == 1
        return _weighted_mean(np.where(acts, (y == 0) * costs.false_positive, (y == 1) * costs.false_negative))

    return prepare


def _calibration_error(y: NDArray, probabilities: NDArray) -> WeightedMetric:
    """Return the expected calibration error: distance of frequencies from probabilities, in 15 bins of equal width.

    Binary: for the probability of class 1. Multiclass: for the probability of the most likely class.

    Source: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.
    """
    if probabilities.shape[1] == 2:
        predicted, correct = probabilities[:, 1], y == 1
    else:
        predicted, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.clip(np.ceil(predicted * _CALIBRATION_BINS).astype(int) - 1, 0, _CALIBRATION_BINS - 1)
    gaps = correct - predicted.astype(np.float64)

    def calibration_error(weights: Floats) -> Floats:
        bin_gaps = [np.bincount(bins, row_weights * gaps, _CALIBRATION_BINS) for row_weights in weights]
        return np.abs(bin_gaps).sum(axis=1) / weights.sum(axis=1)

    return calibration_error


def _auc(y: NDArray, probabilities: NDArray) -> WeightedMetric:
    """Return the AUC of class 1; for multiclass the unweighted mean over the present classes, one against the rest."""
    return _one_vs_rest(_binary_auc, y, probabilities)


def _pr_auc(y: NDArray, probabilities: NDArray) -> WeightedMetric:
    """Return the average precision of class 1; for multiclass the unweighted mean over the present classes."""
    return _one_vs_rest(_average_precision, y, probabilities)


def _one_vs_rest(
    of_class: Callable[[NDArray[np.bool_], NDArray], WeightedMetric], y: NDArray, scores: NDArray
) -> WeightedMetric:
    if scores.shape[1] == 2:
        return of_class(y == 1, scores[:, 1])
    per_class = [of_class(y == k, scores[:, k]) for k in np.unique(y)]

    def macro(weights: Floats) -> Floats:
        values = np.array([metric(weights) for metric in per_class]).reshape(len(per_class), len(weights))
        present = ~np.isnan(values)
        return np.where(present, values, 0).sum(axis=0) / present.sum(axis=0)

    return macro


def _average_precision(positive: NDArray[np.bool_], score: NDArray) -> WeightedMetric:
    """Return the stepwise area under the precision-recall curve: the mean precision at the scores of the positives.

    It equals scikit-learn's `average_precision_score`. Tied scores share the precision of their group.
    """
    order = np.argsort(-score, kind="stable")
    in_order = -score[order]
    winners = np.flatnonzero(positive[order])
    last = np.searchsorted(in_order, in_order[winners], side="right") - 1
    last_winner = np.searchsorted(winners, last, side="right") - 1

    def average_precision(weights: Floats) -> Floats:
        ordered = weights[:, order]
        of_positives = ordered[:, winners]
        true_positives = np.cumsum(of_positives, axis=1)[:, last_winner]
        # A positive with weight 0 does not count, even if no row is above it (0 / 0).
        precision = np.where(of_positives > 0, true_positives / np.cumsum(ordered, axis=1)[:, last], 0)
        return np.einsum("br,br->b", of_positives, precision) / of_positives.sum(axis=1)

    return average_precision


def _binary_auc(positive: NDArray[np.bool_], score: NDArray) -> WeightedMetric:
    """Return the area under the ROC curve as the Mann-Whitney statistic; tied scores share their mean rank.

    Rows are sorted once. The rank of a positive is the weight below its group of equal scores plus half the weight of
    the group. The sum of the positives' ranks minus half the square of their weight (the pairs of two positives) is the
    weight of the pairs in correct order.
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


def _rmse(y: NDArray, prediction: NDArray) -> WeightedMetric:
    mean_square = _weighted_mean(((y.astype(np.float64) - prediction) ** 2).mean(axis=1))
    return lambda weights: np.sqrt(mean_square(weights))


def _mae(y: NDArray, prediction: NDArray) -> WeightedMetric:
    return _weighted_mean(np.abs(y.astype(np.float64) - prediction).mean(axis=1))


def _r2(y: NDArray, prediction: NDArray) -> WeightedMetric:
    """Return the coefficient of determination, the mean over outputs; undefined if a label does not vary."""
    truth = y.astype(np.float64)
    square = (truth - prediction) ** 2
    # A constant label becomes exactly 0, and so does its variance, independent of rounding.
    truth = truth - truth[:1]

    def r2(weights: Floats) -> Floats:
        rows = weights.sum(axis=1)
        of_outputs = []
        for output in range(truth.shape[1]):
            mean = weights @ truth[:, output] / rows
            total = np.einsum("br,br->b", weights, (truth[:, output] - mean[:, None]) ** 2)
            # A variance below the rounding error of the mean is 0: the resample has only equal labels.
            rounding = np.finfo(np.float64).eps * len(truth) * mean
            varies = total > rows * rounding**2
            of_outputs.append(np.where(varies, 1 - weights @ square[:, output] / total, np.nan))
        return np.mean(of_outputs, axis=0)

    return r2


ACCURACY, COST, CALIBRATION = "accuracy", "cost", "calibration_error"
F1, PRECISION, RECALL = "f1", "precision", "recall"
MEDIAN_METRIC = "mae"  # of all answers that are the same for every row, the median is the best one, not the mean
_EQUAL_COSTS = Costs(1, 1)
# Here the decision is the most likely class and costs are equal; `metrics_for` returns the metrics of a pipeline.
METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(ACCURACY, True, CLASSIFICATION, _accuracy(MOST_LIKELY), of_decisions=True),
            Metric("auc", True, CLASSIFICATION, _auc),
            Metric("pr_auc", True, CLASSIFICATION, _pr_auc),
            Metric("log_loss", False, CLASSIFICATION, _log_loss, (0.0, np.inf)),
            Metric(CALIBRATION, False, CLASSIFICATION, _calibration_error, simulated=False),
            Metric(F1, True, CLASSIFICATION, _f1(MOST_LIKELY), of_decisions=True),
            Metric(PRECISION, True, CLASSIFICATION, _precision(MOST_LIKELY), of_decisions=True),
            Metric(RECALL, True, CLASSIFICATION, _recall(MOST_LIKELY), of_decisions=True),
            Metric(COST, False, BINARY, _cost(Decision.cheapest(_EQUAL_COSTS), _EQUAL_COSTS), (0.0, np.inf)),
            Metric("rmse", False, REGRESSION, _rmse, (0.0, np.inf)),
            Metric(MEDIAN_METRIC, False, REGRESSION, _mae, (0.0, np.inf)),
            Metric("r2", True, REGRESSION, _r2, (-np.inf, 1.0)),
        )
    }
)

# Metrics of the decisions, which the decision of a pipeline changes.
_BY_DECISION = MappingProxyType({ACCURACY: _accuracy, F1: _f1, PRECISION: _precision, RECALL: _recall})
_DEFAULTS = {"binary": "auc", "multiclass": ACCURACY, "regression": "rmse"}


def default_metric(problem: str) -> str:
    """Return the metric of a pipeline whose config names none.

    Raises:
        UsageError: unknown problem.
    """
    _check_problem(problem)
    return _DEFAULTS[problem]


def metrics_for(
    problem: str, decision: Decision = MOST_LIKELY, own: Mapping[str, Metric] = MappingProxyType({})
) -> dict[str, Metric]:
    """Return all metrics that are defined for a problem, by name; `cost` only if the costs of mistakes are known.

    Args:
        problem: one of `PROBLEMS`.
        decision: the decision that `accuracy`, `f1`, `precision`, `recall` and `cost` measure; a threshold needs a
            binary problem.
        own: the user's own metrics, by name; see `benison.components.evaluate.own_metrics`.

    Raises:
        UsageError: unknown problem.
    """
    _check_problem(problem)
    metrics = {name: metric for name, metric in METRICS.items() if problem in metric.problems and name != COST}
    for name in filter(metrics.__contains__, _BY_DECISION):
        metrics[name] = replace(METRICS[name], prepare=_BY_DECISION[name](decision))
    if decision.costs is not None and problem in METRICS[COST].problems:
        metrics[COST] = replace(METRICS[COST], prepare=_cost(decision, decision.costs))
    return {**metrics, **own}


def metric_for(
    name: str,
    problem: str,
    decision: Decision = MOST_LIKELY,
    own: Mapping[str, Metric] = MappingProxyType({}),
) -> Metric:
    """Return the metric with a name, if it is defined for the problem; see `metrics_for`.

    Raises:
        UsageError: no such metric, or one that is not defined for the problem; lists the defined ones.
    """
    metrics = metrics_for(problem, decision, own)
    if name in metrics:
        return metrics[name]
    if name == COST and problem in METRICS[COST].problems:
        raise UsageError("the metric 'cost' requires the costs of mistakes; set `cost` in the config")
    fault = f"metric '{name}' is not defined for a {problem} problem" if name in METRICS else f"no metric '{name}'"
    raise UsageError(f"{fault}; {_allowed_names(name, sorted(metrics))}")


def _check_problem(problem: str) -> None:
    if problem not in PROBLEMS:
        raise UsageError(f"unknown problem '{problem}'; {_allowed_names(problem, sorted(PROBLEMS))}")


def _allowed_names(name: str, allowed: Sequence[str]) -> str:
    return f"allowed: {', '.join(allowed)}{did_you_mean(name, allowed)}"
