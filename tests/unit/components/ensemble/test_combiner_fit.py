"""Tests of fitted combiners: they find known optima, learn nothing from noise, and drop members that do not help."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.ensemble.combiner_fit import Fit, fit
from benison.serving.ensemble import Ensemble, Stacking, TemperatureScaling, WeightedMean
from benison.serving.ensemble.combiners import Output
from benison.serving.errors import DataError

SIGMAS = {"a": 1.0, "b": 1.5, "c": 2.0, "d": 3.0}


def regression(rows: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw a target, and members with independent errors of known variance."""
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 5, (rows, 1))
    return target, {name: target + rng.normal(0, sigma, target.shape) for name, sigma in SIGMAS.items()}


def classification(rows: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draw labels of three classes, and members that predict the true probabilities with independent noise."""
    rng = np.random.default_rng(seed)
    score = rng.normal(0, 2, (rows, 3))
    labels = np.array([rng.choice(3, p=row) for row in softmax(score)])
    members = {name: softmax(sharpness * (score + rng.normal(0, sigma, score.shape))) for name, sigma in SIGMAS.items()}
    return labels, members


def softmax(score: np.ndarray) -> np.ndarray:
    raised = np.exp(score - score.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(labels)), labels].clip(1e-7)).mean())


def predict(fitted: Fit, members: dict[str, np.ndarray], output: Output = "probabilities") -> np.ndarray:
    spec = Ensemble(members=fitted.kept, combiner=fitted.combiner, output=output, calibration=fitted.calibration)
    return spec.combine({name: members[name] for name in fitted.kept}).numpy()


def test_the_weights_of_a_mean_are_the_inverse_variances_where_errors_are_independent() -> None:
    target, members = regression(100_000, 1)
    precision = {name: sigma**-2 for name, sigma in SIGMAS.items()}
    optimum = {name: value / sum(precision.values()) for name, value in precision.items()}
    fitted = fit("weighted_mean", "regression", target, members)
    assert isinstance(fitted.combiner, WeightedMean)
    assert fitted.combiner.weights == pytest.approx(optimum, rel=0.05)


def test_stacking_finds_the_best_linear_predictor_where_errors_are_independent() -> None:
    target, members = regression(100_000, 2)
    # Of y ~ N(0, 25) given y + independent errors: weights are the precisions over their sum, the prior's included.
    total = sum(sigma**-2 for sigma in SIGMAS.values()) + 1 / 25
    fitted = fit("stacking", "regression", target, members)
    assert isinstance(fitted.combiner, Stacking)
    for name, sigma in SIGMAS.items():
        assert fitted.combiner.coefficients[name][0] == pytest.approx(sigma**-2 / total, rel=0.05)
    assert fitted.combiner.intercept[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_a_fitted_combiner_is_not_worse_than_the_mean_or_the_best_member_on_new_rows(kind: str, problem: str) -> None:
    make = regression if problem == "regression" else classification
    fitted = fit(kind, problem, *make(4000, 3))
    labels, members = make(20_000, 4)
    if problem == "regression":
        loss = lambda values: float(((labels - values) ** 2).mean())  # noqa: E731
        combined = predict(fitted, members, "prediction")
    else:
        loss = lambda values: log_loss(labels, values)  # noqa: E731
        combined = predict(fitted, members)
    assert loss(combined) < min(loss(values) for values in members.values())
    assert loss(combined) < loss(np.mean(list(members.values()), axis=0))


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
def test_a_useless_member_is_dropped_in_at_least_19_of_20_seeds(kind: str) -> None:
    dropped = 0
    for seed in range(20):
        target, members = regression(1000, seed)
        useless = np.random.default_rng(1000 + seed).normal(0, 5, target.shape)
        fitted = fit(kind, "regression", target, {**members, "useless": useless}, seed=seed)
        dropped += "useless" not in fitted.kept
        assert {"a", "b", "c"} <= set(fitted.kept)
    assert dropped >= 19


def test_a_copy_of_a_member_is_dropped_or_shares_its_weight() -> None:
    target, members = regression(5000, 5)
    fitted = fit("weighted_mean", "regression", target, {**members, "copy": members["a"]})
    weights = {c.member: c.weight for c in fitted.contributions if c.kept}
    assert weights.get("a", 0) + weights.get("copy", 0) == pytest.approx(0.55, abs=0.03)


def test_a_dropped_member_is_reported_with_weight_and_gain() -> None:
    target, members = regression(2000, 6)
    members["useless"] = np.random.default_rng(1006).normal(0, 5, target.shape)
    last = fit("weighted_mean", "regression", target, members).contributions[-1]
    assert not last.kept
    assert last.why.startswith("it brings nothing: its weight is ")
    assert ", and the loss out of fold without it is " in last.why


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
def test_heavy_tails_do_not_hide_that_one_member_is_better(kind: str) -> None:
    rng = np.random.default_rng(21)
    signal = rng.normal(0, 5, (2000, 1))
    target = signal + 5 * rng.standard_t(3, signal.shape)  # the loss of a row says little about a member
    members = {name: signal + rng.normal(0, sigma, signal.shape) for name, sigma in (("poor", 3), ("good", 0.5))}
    fitted = fit(kind, "regression", target, members)
    error = predict(fitted, members, "prediction") - signal
    assert float((error**2).mean()) < 0.5  # of the good one alone 0.25, of the mean 2.3


def test_one_member_is_the_ensemble_if_no_combination_is_better() -> None:
    target, members = regression(500, 22)
    error = members["a"] - target
    worse = {name: target + factor * error for name, factor in (("b", 1.3), ("c", 1.5))}  # the same errors, larger
    fitted = fit("weighted_mean", "regression", target, {"b": worse["b"], "a": members["a"], "c": worse["c"]})
    assert fitted.kept == ("a",)
    assert fitted.combiner == WeightedMean(weights={"a": 1.0})
    assert all(c.why for c in fitted.contributions if c.member != "a")
    assert fit("weighted_mean", "regression", target, {"a": members["a"], **worse}, drop=False).kept == ("a", "b", "c")


@pytest.mark.parametrize("rows", [60, 600])
def test_stacking_on_random_labels_gains_nothing_on_new_rows(rows: int) -> None:
    gains = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, rows)
        members = {name: softmax(rng.normal(0, 2, (rows, 3))) for name in "abc"}
        fitted = fit("stacking", "multiclass", labels, members, seed=seed)
        unseen = rng.integers(0, 3, 20_000)
        new = {name: softmax(rng.normal(0, 2, (20_000, 3))) for name in "abc"}
        gains.append(np.log(3) - log_loss(unseen, predict(fitted, new)))
    assert max(gains) < 0.002


def test_thirty_rows_leave_the_weights_near_equal() -> None:
    labels, _ = classification(30, 7)
    rng = np.random.default_rng(8)
    alike = {name: softmax(2 * np.eye(3)[labels] + rng.normal(0, 1, (30, 3))) for name in "abc"}
    fitted = fit("weighted_mean", "multiclass", labels, alike)
    assert set(fitted.kept) == {"a", "b", "c"}
    assert isinstance(fitted.combiner, WeightedMean)
    assert fitted.combiner.weights == pytest.approx(dict.fromkeys("abc", 1 / 3), abs=0.15)


def test_stacking_has_a_fallback_for_each_missing_member() -> None:
    labels, members = classification(3000, 9)
    fitted = fit("stacking", "multiclass", labels, members, drop=False)
    assert isinstance(fitted.combiner, Stacking)
    assert set(fitted.combiner.fallbacks) == set(members)
    spec = Ensemble(members=fitted.kept, combiner=fitted.combiner, output="probabilities")
    for missing in members:
        left = {name: values for name, values in members.items() if name != missing}
        assert log_loss(labels, spec.combine(left).numpy()) < log_loss(labels, np.full((3000, 3), 1 / 3))


@pytest.mark.parametrize("method", ["temperature", "bias_corrected_temperature"])
def test_calibration_corrects_overconfident_members(method: str) -> None:
    labels, members = classification(4000, 10, sharpness=3.0)
    plain = fit("mean", "multiclass", labels, members)
    calibrated = fit("mean", "multiclass", labels, members, calibrate=method)
    unseen, new = classification(10_000, 11, sharpness=3.0)
    assert isinstance(calibrated.calibration, TemperatureScaling)
    assert calibrated.calibration.temperature > 1
    assert log_loss(unseen, predict(calibrated, new)) < log_loss(unseen, predict(plain, new)) - 0.01


def test_the_same_rows_and_seed_give_the_same_fit() -> None:
    labels, members = classification(500, 12)
    assert fit("stacking", "multiclass", labels, members, seed=3) == fit(
        "stacking", "multiclass", labels, members, seed=3
    )


def test_fixed_weights_are_used_unchanged() -> None:
    labels, members = classification(50, 13)
    fitted = fit("weighted_mean", "multiclass", labels, members, weights={"a": 3.0, "b": 1.0})
    assert fitted.combiner == WeightedMean(weights={"a": 3.0, "b": 1.0})
    assert fitted.kept == ("a", "b", "c", "d")


def test_too_few_rows_are_an_error_that_says_what_to_do() -> None:
    labels, members = classification(9, 14)
    with pytest.raises(
        DataError, match=r"there are 9 rows for the combiner; a fitted one needs at least 10. Add rows, give"
    ):
        fit("stacking", "multiclass", labels, members)


def test_the_errors_of_identical_members_are_fully_correlated() -> None:
    labels, members = classification(300, 15)
    fitted = fit("mean", "multiclass", labels, {"a": members["a"], "twin": members["a"], "d": members["d"]})
    assert fitted.correlations["a"]["twin"] == pytest.approx(1)
    assert fitted.correlations["a"]["d"] < 0.95
