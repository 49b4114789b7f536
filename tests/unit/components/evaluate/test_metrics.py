"""The metrics agree with scikit-learn, count weights as repeated rows, and bootstrap in pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from benison.components.evaluate.bootstrap import bootstrap, paired_difference, percentile_interval
from benison.components.evaluate.metrics import METRICS, Costs, Decision, default_metric, metric_for, metrics_for
from benison.components.evaluate.power import best_guess
from benison.serving.errors import DataError, UsageError

ROWS = 300


def draw(problem: str, seed: int = 0, rows: int = ROWS, ties: bool = False):
    """Draw labels, predictions that correlate with them, and integer weights, some of them 0."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, rows)
    if problem == "regression":
        y = rng.normal(50, 5, (rows, 2))
        return y, y + rng.normal(0, 2, (rows, 2)), weights
    classes = 2 if problem == "binary" else 4
    ids = rng.integers(0, classes, rows)
    scores = rng.random((rows, classes)) + 0.4 * np.eye(classes)[ids]
    if ties:
        scores = np.ceil(scores * 3)
    return ids, scores / scores.sum(axis=1, keepdims=True), weights


def of_sklearn(name: str, y, prediction, weights):
    """Compute the same metric with scikit-learn."""
    if name == "accuracy":
        return sklearn_metrics.accuracy_score(y, prediction.argmax(axis=1), sample_weight=weights)
    if name == "auc" and prediction.shape[1] == 2:
        return sklearn_metrics.roc_auc_score(y, prediction[:, 1], sample_weight=weights)
    if name == "auc":
        return np.mean(
            [sklearn_metrics.roc_auc_score(y == k, prediction[:, k], sample_weight=weights) for k in np.unique(y)]
        )
    if name == "pr_auc" and prediction.shape[1] == 2:
        return sklearn_metrics.average_precision_score(y, prediction[:, 1], sample_weight=weights)
    if name == "pr_auc":
        return np.mean(
            [
                sklearn_metrics.average_precision_score(y == k, prediction[:, k], sample_weight=weights)
                for k in np.unique(y)
            ]
        )
    if name in ("f1", "precision", "recall"):
        of_name = getattr(sklearn_metrics, f"{name}_score")
        average = "binary" if prediction.shape[1] == 2 else "macro"
        return of_name(y, prediction.argmax(axis=1), sample_weight=weights, average=average, zero_division=0)
    if name == "calibration_error":
        return calibration_error(y, prediction, np.ones(len(y)) if weights is None else weights)
    if name == "cost":  # at equal costs, acting from 0.5 on: the error rate
        return sklearn_metrics.zero_one_loss(y, prediction[:, 1] >= 0.5, sample_weight=weights)
    if name == "log_loss":
        return sklearn_metrics.log_loss(y, prediction, sample_weight=weights, labels=range(prediction.shape[1]))
    if name == "rmse":
        return math.sqrt(sklearn_metrics.mean_squared_error(y, prediction, sample_weight=weights))
    of_name = {"mae": sklearn_metrics.mean_absolute_error, "r2": sklearn_metrics.r2_score}
    return of_name[name](y, prediction, sample_weight=weights)


def calibration_error(y, prediction, weights):
    """Compute Guo et al. 2017, equation 3, bin by bin; scikit-learn does not have this metric."""
    binary = prediction.shape[1] == 2
    predicted = prediction[:, 1] if binary else prediction.max(axis=1)
    correct = y == (1 if binary else prediction.argmax(axis=1))
    total = 0.0
    for number in range(15):
        rows = (predicted > number / 15) & (predicted <= (number + 1) / 15)
        if weights[rows].sum():
            gap = np.average(correct[rows], weights=weights[rows]) - np.average(predicted[rows], weights=weights[rows])
            total += weights[rows].sum() * abs(gap)
    return total / weights.sum()


CASES = [(metric.name, problem) for metric in METRICS.values() for problem in sorted(metric.problems)]


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize(("name", "problem"), CASES)
def test_agrees_with_scikit_learn_with_and_without_weights(name, problem, ties):
    y, prediction, weights = draw(problem, ties=ties)
    assert METRICS[name].compute(y, prediction) == pytest.approx(of_sklearn(name, y, prediction, None), abs=1e-12)
    fractions = weights / 7
    assert METRICS[name].compute(y, prediction, fractions) == pytest.approx(
        of_sklearn(name, y, prediction, fractions), abs=1e-12
    )


def test_multiclass_auc_is_scikit_learns_macro_one_vs_rest():
    y, prediction, _ = draw("multiclass")
    expected = sklearn_metrics.roc_auc_score(y, prediction, multi_class="ovr", average="macro")
    assert METRICS["auc"].compute(y, prediction) == pytest.approx(expected, abs=1e-12)


def test_multiclass_auc_leaves_absent_classes_out():
    y, prediction, _ = draw("multiclass")
    without_last = y != 3
    y, prediction = y[without_last], prediction[without_last]
    expected = np.mean([sklearn_metrics.roc_auc_score(y == k, prediction[:, k]) for k in range(3)])
    assert METRICS["auc"].compute(y, prediction) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize(("name", "problem"), CASES)
def test_a_whole_weight_is_the_row_repeated(name, problem, ties):
    y, prediction, weights = draw(problem, ties=ties)
    repeated = METRICS[name].compute(np.repeat(y, weights, axis=0), np.repeat(prediction, weights, axis=0))
    assert METRICS[name].compute(y, prediction, weights) == pytest.approx(repeated, rel=1e-13)


@pytest.mark.parametrize(("scores", "expected"), [([0, 0, 1, 1], 1), ([1, 1, 0, 0], 0), ([3, 3, 3, 3], 0.5)])
def test_auc_of_perfect_reversed_and_constant_scores(scores, expected):
    column = np.array(scores, float)
    assert METRICS["auc"].compute(np.array([0, 0, 1, 1]), np.stack([-column, column], axis=1)) == expected


@pytest.mark.parametrize(
    ("scores", "expected"), [([0, 0, 1, 1], 1), ([3, 2, 1, 0], (1 / 3 + 2 / 4) / 2), ([3, 3, 3, 3], 0.5)]
)
def test_pr_auc_of_perfect_reversed_and_constant_scores(scores, expected):
    column = np.array(scores, float)
    prediction = np.stack([-column, column], axis=1)
    assert METRICS["pr_auc"].compute(np.array([0, 0, 1, 1]), prediction) == pytest.approx(expected)


@pytest.mark.parametrize("problem", ["binary", "multiclass"])
def test_frequencies_equal_to_the_probabilities_have_no_calibration_error(problem):
    classes = 2 if problem == "binary" else 5
    claimed = np.tile([0.6, *[0.4 / (classes - 1)] * (classes - 1)], (10, 1))[:, ::-1]
    y = np.array([classes - 1] * 6 + [0] * 4)
    assert METRICS["calibration_error"].compute(y, claimed) == pytest.approx(0)
    assert METRICS["calibration_error"].compute(y[:5], claimed[:5]) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("costs", "probability", "of_negative", "of_positive"),
    [
        (Costs(false_negative=9, false_positive=1), 0.11, 1, 0),
        (Costs(false_negative=9, false_positive=1), 0.09, 0, 9),
        (Costs(false_negative=1, false_positive=3), 0.74, 0, 1),
        (Costs(false_negative=1, false_positive=3), 0.76, 3, 0),
    ],
)
def test_cost_assumes_the_cheaper_action(costs, probability, of_negative, of_positive):
    cost = metric_for("cost", "binary", Decision.cheapest(costs))
    prediction = np.array([[1 - probability, probability]])
    assert cost.compute(np.array([0]), prediction) == of_negative
    assert cost.compute(np.array([1]), prediction) == of_positive


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("costs", [None, Costs(false_negative=3, false_positive=2)])
def test_accuracy_and_cost_measure_the_decision_at_the_threshold(threshold, costs):
    y, prediction, weights = draw("binary")
    decided = prediction[:, 1] >= threshold
    metrics = metrics_for("binary", Decision(threshold, costs))
    accuracy = sklearn_metrics.accuracy_score(y, decided, sample_weight=weights)
    assert metrics["accuracy"].compute(y, prediction, weights) == pytest.approx(accuracy)
    if costs:
        (_, false_positive), (false_negative, _) = sklearn_metrics.confusion_matrix(y, decided, sample_weight=weights)
        expected = (3 * false_negative + 2 * false_positive) / weights.sum()
        assert metrics["cost"].compute(y, prediction, weights) == pytest.approx(expected)


def test_the_cheapest_decision_costs_least_and_is_not_the_most_accurate():
    rng = np.random.default_rng(1)
    risk = rng.random(20_000)
    y, prediction = (rng.random(20_000) < risk).astype(int), np.stack([1 - risk, risk], axis=1)
    costs = Costs(false_negative=8, false_positive=1)
    cheapest, likely = (metrics_for("binary", d) for d in (Decision.cheapest(costs), Decision(0.5, costs)))
    assert cheapest["cost"].compute(y, prediction) < likely["cost"].compute(y, prediction)
    assert cheapest["accuracy"].compute(y, prediction) < likely["accuracy"].compute(y, prediction)


def test_right_probabilities_cost_least():
    rng = np.random.default_rng(0)
    true = rng.random(20_000) ** 2
    y = (rng.random(20_000) < true).astype(int)
    cost = metric_for("cost", "binary", Decision.cheapest(Costs(10, 1)))
    right, too_low = (cost.compute(y, np.stack([1 - p, p], axis=1)) for p in (true, true**2))
    assert right < too_low


def test_cost_is_a_metric_only_where_costs_are_known():
    assert "cost" not in metrics_for("binary")
    assert "cost" in metrics_for("binary", Decision(costs=Costs(1, 2)))
    assert "cost" not in metrics_for("multiclass", Decision(costs=Costs(1, 2)))


def test_log_loss_of_a_certain_mistake_is_clipped():
    assert METRICS["log_loss"].compute(np.array([0]), np.array([[0.0, 1.0]])) == pytest.approx(-math.log(1e-7))


@pytest.mark.parametrize(
    ("name", "y", "prediction"),
    [
        ("auc", np.zeros(3, int), np.full((3, 2), 0.5)),
        ("auc", np.full(3, 2), np.full((3, 4), 0.25)),
        ("pr_auc", np.zeros(3, int), np.full((3, 2), 0.5)),
        ("r2", np.full((3, 1), 0.1), np.ones((3, 1))),
        ("r2", np.array([[5.0]]), np.array([[5.0]])),
        ("accuracy", np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, np.nan]])),
        ("rmse", np.array([[1.0], [2.0]]), np.array([[1.0], [np.inf]])),
        ("mae", np.array([[1.0], [np.nan]]), np.array([[1.0], [2.0]])),
        *(
            (name, np.zeros(0, int), np.zeros((0, 2)))
            for name in ("accuracy", "auc", "pr_auc", "log_loss", "calibration_error", "cost")
        ),
        *((name, np.zeros((0, 1)), np.zeros((0, 1))) for name in ("rmse", "mae", "r2")),
    ],
)
def test_undefined_is_nan_without_a_warning(name, y, prediction):
    assert math.isnan(METRICS[name].compute(y, prediction))


def test_a_broken_row_with_weight_zero_does_not_matter():
    y, prediction = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]])
    assert METRICS["accuracy"].compute(y, prediction, np.array([1, 1, 0])) == 1


@pytest.mark.parametrize("weight", [7, 0.1, 1 / 3])
@pytest.mark.parametrize("offset", [0, 1e6])
def test_r2_is_undefined_in_resamples_of_equal_labels_whatever_the_rounding(offset, weight):
    y = np.array([[0.1], *[[0.3]] * 40, [0.7]]) + offset
    equal = np.array([0.0, *[weight] * 40, 0.0])
    assert math.isnan(METRICS["r2"].compute(y, y, equal))
    equal[-1] = 1
    assert METRICS["r2"].compute(y, y, equal) == 1


@pytest.mark.parametrize(
    ("name", "y", "prediction", "weights", "message"),
    [
        ("accuracy", np.array([0, 2]), np.zeros((2, 2)), None, r"ids run from 0 to 2, but .* 2 columns"),
        ("auc", np.array([-1, 1]), np.zeros((2, 2)), None, "ids run from -1 to 1"),
        ("auc", np.array([0, 1]), np.zeros(2), None, r"expected \[rows\] and \[rows, classes\]"),
        ("rmse", np.zeros((2, 1)), np.zeros((2, 2)), None, r"expected \[rows, outputs\] for both"),
        ("mae", np.zeros((2, 1)), np.zeros((2, 1)), np.ones(3), r"weights have shape \(3,\), expected \(2,\)"),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused_with_their_shapes(name, y, prediction, weights, message):
    with pytest.raises(DataError, match=message):
        METRICS[name].compute(y, prediction, weights)


@pytest.mark.parametrize(("problem", "name"), [("binary", "auc"), ("multiclass", "accuracy"), ("regression", "rmse")])
def test_every_problem_has_a_default_metric_that_is_defined_for_it(problem, name):
    assert default_metric(problem) == name
    assert metric_for(name, problem).name == name


@pytest.mark.parametrize(
    ("name", "problem", "message"),
    [
        (
            "acuracy",
            "binary",
            "no metric 'acuracy'; allowed: accuracy, auc, calibration_error, f1, log_loss, pr_auc, precision, "
            "recall; did you mean 'accuracy'",
        ),
        (
            "rmse",
            "binary",
            "'rmse' is not defined for a binary problem; allowed: accuracy, auc, calibration_error, f1, log_loss, "
            "pr_auc, precision, recall",
        ),
        ("cost", "binary", "'cost' requires the costs of mistakes; set `cost` in the config"),
        ("cost", "multiclass", "'cost' is not defined for a multiclass problem"),
        ("auc", "regresion", "unknown problem 'regresion'; .*did you mean 'regression'"),
    ],
)
def test_the_message_for_a_wrong_name_lists_the_allowed_ones(name, problem, message):
    with pytest.raises(UsageError, match=message):
        metric_for(name, problem)


@pytest.mark.parametrize(("name", "problem"), CASES)
def test_bootstrap_equals_scoring_the_resamples_one_by_one(name, problem):
    y, prediction, _ = draw(problem, rows=40)
    rng = np.random.default_rng(3)
    expected = []
    for _ in range(20):
        rows = rng.integers(0, 40, 40)
        expected.append(METRICS[name].compute(y[rows], prediction[rows]))
    assert bootstrap(METRICS[name], y, [prediction], resamples=20, seed=3)[0] == pytest.approx(expected, nan_ok=True)


def test_bootstrap_gives_every_model_the_same_resamples():
    y, prediction, _ = draw("binary")
    first, second = bootstrap(METRICS["auc"], y, [prediction, prediction.copy()], resamples=50, seed=1)
    assert first.std() > 0
    np.testing.assert_array_equal(first, second)


def test_bootstrap_does_not_depend_on_the_size_of_its_blocks(monkeypatch):
    y, prediction, _ = draw("multiclass")
    whole = bootstrap(METRICS["auc"], y, [prediction], resamples=50, seed=1)
    monkeypatch.setattr("benison.components.evaluate.bootstrap.BLOCK_SIZE", 7 * ROWS)
    np.testing.assert_array_equal(whole, bootstrap(METRICS["auc"], y, [prediction], resamples=50, seed=1))


def test_bootstrap_is_repeatable_by_its_seed():
    y, prediction, _ = draw("binary")
    one, again, other = (bootstrap(METRICS["auc"], y, [prediction], resamples=10, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_bootstrap_marks_resamples_without_a_class_as_nan():
    y, prediction = np.array([0] * 20 + [1]), np.linspace((1.0, 0.0), (0.0, 1.0), 21)
    scores = bootstrap(METRICS["auc"], y, [prediction], resamples=200, seed=0)
    assert 0 < np.isnan(scores).mean() < 1
    assert paired_difference(METRICS["auc"], y, prediction, np.full((21, 2), 0.5), resamples=200)[1] == (0.5, 0.5)


def test_bootstrap_of_no_rows_is_undefined():
    assert np.isnan(bootstrap(METRICS["accuracy"], np.zeros(0, int), [np.zeros((0, 2))], resamples=3)).all()
    assert np.isnan(percentile_interval(np.array([np.nan]), 0.95)).all()


def test_the_interval_of_a_mean_is_the_one_of_theory():
    y = np.random.default_rng(5).integers(0, 2, 4000)
    right, wrong = np.eye(2)[y], np.eye(2)[1 - y]
    half_right = np.where(np.arange(4000)[:, None] % 2 == 0, right, wrong)
    estimate, interval = paired_difference(METRICS["accuracy"], y, half_right, wrong, resamples=2000)
    assert estimate == 0.5
    half_width = 1.96 * math.sqrt(0.25 / 4000)
    assert interval == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=0.1 * half_width)


# Calibration alone does not tell a good model from a bad one.
@pytest.mark.parametrize(("name", "problem"), [case for case in CASES if case[0] != "calibration_error"])
def test_the_better_model_has_the_positive_difference_whichever_way_the_metric_points(name, problem):
    y, prediction, _ = draw(problem)
    worse = prediction[::-1]
    estimate, interval = paired_difference(METRICS[name], y, prediction, worse, resamples=100)
    assert 0 < interval.low < estimate < interval.high
    assert paired_difference(METRICS[name], y, worse, prediction, resamples=100)[1].high < 0


def test_pairing_narrows_the_interval_of_two_similar_models():
    y, prediction, _ = draw("regression")
    almost = prediction + 0.01
    _, paired = paired_difference(METRICS["rmse"], y, prediction, almost, resamples=200)
    alone = percentile_interval(bootstrap(METRICS["rmse"], y, [prediction], resamples=200)[0], 0.95)
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_less_confidence_is_a_narrower_interval():
    values = np.arange(101.0)
    assert percentile_interval(values, 0.9) == pytest.approx((5, 95))
    assert percentile_interval(values, 0.5) == pytest.approx((25, 75))


def test_a_class_that_is_never_decided_for_has_a_precision_of_0_and_one_without_rows_does_not_count():
    y, prediction = np.array([0, 1, 1]), np.array([[0.9, 0.1, 0.0]] * 3)
    assert METRICS["precision"].compute(y, prediction) == pytest.approx((1 / 3 + 0) / 2)
    assert METRICS["recall"].compute(y, prediction) == pytest.approx((1 + 0) / 2)
    assert math.isnan(METRICS["recall"].compute(np.zeros(3, int), prediction[:, :2]))


def test_f1_follows_the_threshold_of_the_decision():
    y, prediction = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]])
    assert metric_for("f1", "binary").compute(y, prediction) == pytest.approx(2 / 3)
    assert metric_for("f1", "binary", Decision(0.3)).compute(y, prediction) == 1


@pytest.mark.parametrize(("name", "guess"), [("accuracy", [1, 0]), ("f1", [0, 1]), ("auc", [0.9, 0.1])])
def test_the_guess_that_f1_is_compared_with_is_always_positive(name, guess):
    assert list(best_guess(METRICS[name], np.array([0.9, 0.1]))) == guess
