"""What the combiners learn: known optima, nothing from noise, and members that do not help."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.ensemble.combiner_fit import Fit, fit
from benison.serving.ensemble import Ensemble, Stacking, TemperatureScaling, WeightedMean
from benison.serving.ensemble.combiners import Output
from benison.serving.errors import DataError

SIGMAS = {"a": 1.0, "b": 1.5, "c": 2.0, "d": 3.0}


def regression(rows: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A target, and members whose errors are independent and of known variance."""
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 5, (rows, 1))
    return target, {name: target + rng.normal(0, sigma, target.shape) for name, sigma in SIGMAS.items()}


def classification(rows: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Three classes; each member sees the truth through noise of its own."""
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


def answer(found: Fit, members: dict[str, np.ndarray], output: Output = "probabilities") -> np.ndarray:
    spec = Ensemble(members=found.kept, combiner=found.combiner, output=output, calibration=found.calibration)
    return spec.combine({name: members[name] for name in found.kept}).numpy()


def test_the_weights_of_a_mean_are_the_inverse_variances_where_errors_are_independent() -> None:
    target, members = regression(100_000, 1)
    precision = {name: sigma**-2 for name, sigma in SIGMAS.items()}
    optimum = {name: value / sum(precision.values()) for name, value in precision.items()}
    found = fit("weighted_mean", "regression", target, members)
    assert isinstance(found.combiner, WeightedMean)
    assert found.combiner.weights == pytest.approx(optimum, rel=0.05)


def test_stacking_finds_the_best_linear_predictor_where_errors_are_independent() -> None:
    target, members = regression(100_000, 2)
    # Of y ~ N(0, 25) given y + independent errors: weights are the precisions over their sum, the prior's included.
    total = sum(sigma**-2 for sigma in SIGMAS.values()) + 1 / 25
    found = fit("stacking", "regression", target, members)
    assert isinstance(found.combiner, Stacking)
    for name, sigma in SIGMAS.items():
        assert found.combiner.coefficients[name][0] == pytest.approx(sigma**-2 / total, rel=0.05)
    assert found.combiner.intercept[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_a_fitted_combiner_is_not_worse_than_the_mean_or_the_best_member_on_new_rows(kind: str, problem: str) -> None:
    make = regression if problem == "regression" else classification
    found = fit(kind, problem, *make(4000, 3))
    labels, members = make(20_000, 4)
    if problem == "regression":
        loss = lambda values: float(((labels - values) ** 2).mean())  # noqa: E731
        ours = answer(found, members, "prediction")
    else:
        loss = lambda values: log_loss(labels, values)  # noqa: E731
        ours = answer(found, members)
    assert loss(ours) < min(loss(values) for values in members.values())
    assert loss(ours) < loss(np.mean(list(members.values()), axis=0))


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
def test_a_useless_member_is_dropped_in_at_least_19_of_20_seeds(kind: str) -> None:
    dropped = 0
    for seed in range(20):
        target, members = regression(1000, seed)
        useless = np.random.default_rng(1000 + seed).normal(0, 5, target.shape)
        found = fit(kind, "regression", target, {**members, "useless": useless}, seed=seed)
        dropped += "useless" not in found.kept
        assert {"a", "b", "c"} <= set(found.kept)
    assert dropped >= 19


def test_a_member_that_says_the_same_as_another_is_dropped_or_shares_its_weight() -> None:
    target, members = regression(5000, 5)
    found = fit("weighted_mean", "regression", target, {**members, "copy": members["a"]})
    weights = {c.member: c.weight for c in found.contributions if c.kept}
    assert weights.get("a", 0) + weights.get("copy", 0) == pytest.approx(0.55, abs=0.03)


def test_what_was_dropped_is_said_with_the_figures() -> None:
    target, members = regression(2000, 6)
    members["useless"] = np.random.default_rng(1006).normal(0, 5, target.shape)
    last = fit("weighted_mean", "regression", target, members).contributions[-1]
    assert not last.kept
    assert last.why.startswith("weight ")
    assert "its gain out of fold is" in last.why


@pytest.mark.parametrize("rows", [60, 600])
def test_stacking_on_random_labels_gains_nothing_on_new_rows(rows: int) -> None:
    gains = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, rows)
        members = {name: softmax(rng.normal(0, 2, (rows, 3))) for name in "abc"}
        found = fit("stacking", "multiclass", labels, members, seed=seed)
        unseen = rng.integers(0, 3, 20_000)
        new = {name: softmax(rng.normal(0, 2, (20_000, 3))) for name in "abc"}
        gains.append(np.log(3) - log_loss(unseen, answer(found, new)))
    assert max(gains) < 0.002


def test_thirty_rows_leave_the_weights_near_equal() -> None:
    labels, _ = classification(30, 7)
    rng = np.random.default_rng(8)
    alike = {name: softmax(2 * np.eye(3)[labels] + rng.normal(0, 1, (30, 3))) for name in "abc"}
    found = fit("weighted_mean", "multiclass", labels, alike)
    assert set(found.kept) == {"a", "b", "c"}
    assert isinstance(found.combiner, WeightedMean)
    assert found.combiner.weights == pytest.approx(dict.fromkeys("abc", 1 / 3), abs=0.15)


def test_stacking_can_do_without_any_one_member() -> None:
    labels, members = classification(3000, 9)
    found = fit("stacking", "multiclass", labels, members, drop=False)
    assert isinstance(found.combiner, Stacking)
    assert set(found.combiner.fallbacks) == set(members)
    spec = Ensemble(members=found.kept, combiner=found.combiner, output="probabilities")
    for missing in members:
        left = {name: values for name, values in members.items() if name != missing}
        assert log_loss(labels, spec.combine(left).numpy()) < log_loss(labels, np.full((3000, 3), 1 / 3))


@pytest.mark.parametrize("how", ["temperature", "bias_corrected_temperature"])
def test_calibration_undoes_members_that_are_too_sure(how: str) -> None:
    labels, members = classification(4000, 10, sharpness=3.0)
    plain = fit("mean", "multiclass", labels, members)
    calibrated = fit("mean", "multiclass", labels, members, calibrate=how)
    unseen, new = classification(10_000, 11, sharpness=3.0)
    assert isinstance(calibrated.calibration, TemperatureScaling)
    assert calibrated.calibration.temperature > 1
    assert log_loss(unseen, answer(calibrated, new)) < log_loss(unseen, answer(plain, new)) - 0.01


def test_the_same_rows_and_seed_give_the_same_fit() -> None:
    labels, members = classification(500, 12)
    assert fit("stacking", "multiclass", labels, members, seed=3) == fit(
        "stacking", "multiclass", labels, members, seed=3
    )


def test_weights_that_were_given_are_taken_as_they_are() -> None:
    labels, members = classification(50, 13)
    found = fit("weighted_mean", "multiclass", labels, members, weights={"a": 3.0, "b": 1.0})
    assert found.combiner == WeightedMean(weights={"a": 3.0, "b": 1.0})
    assert found.kept == ("a", "b", "c", "d")


def test_too_few_rows_to_fit_to_are_an_error_that_says_what_to_do() -> None:
    labels, members = classification(9, 14)
    with pytest.raises(
        DataError, match=r"the split blend has 9 rows, and a fitted combiner needs 10: give `splits.blend`"
    ):
        fit("stacking", "multiclass", labels, members)


def test_the_errors_of_members_that_say_the_same_are_wholly_correlated() -> None:
    labels, members = classification(300, 15)
    found = fit("mean", "multiclass", labels, {"a": members["a"], "twin": members["a"], "d": members["d"]})
    assert found.correlations["a"]["twin"] == pytest.approx(1)
    assert found.correlations["a"]["d"] < 0.95
