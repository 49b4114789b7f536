"""Intervals by split conformal prediction hold their share of new labels, and grow with skewed ones."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.ensemble import combiner_fit
from benison.components.evaluate import conformal


def draw(rows, seed):
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=rows)
    return labels, labels + rng.standard_t(3, rows)


def fit_drawn(rows, seed, level, **options):
    labels, answers = draw(rows, seed)
    return conformal.fit(labels, answers, level, **options)


def test_the_half_width_is_the_error_of_the_rank_that_the_correction_for_finite_samples_asks_for():
    errors = np.arange(1.0, 20)
    interval = conformal.fit(errors, np.zeros(19), 0.9)
    assert interval is not None
    assert interval.half_width == 18  # ceil(20 * 0.9)


def test_too_few_rows_for_a_level_have_no_interval():
    assert conformal.fit(np.arange(8.0), np.zeros(8), 0.9) is None
    assert conformal.fit(np.arange(9.0), np.zeros(9), 0.9) is not None
    assert conformal.fit(np.zeros(0), np.zeros(0), 0.9) is None


def test_intervals_of_few_rows_hold_their_share_of_new_labels_on_average():
    shares = []
    for seed in range(300):
        interval = fit_drawn(30, seed, 0.8)
        assert interval is not None
        labels, answers = draw(500, seed + 1000)
        shares.append(conformal.coverage(interval, labels, answers)["coverage"])
    assert np.mean(shares) == pytest.approx(25 / 31, abs=0.01)


def test_a_row_of_weight_3_counts_as_three_rows():
    labels, answers = draw(500, 0)
    weights = np.tile([1.0, 3.0], 250)
    repeated = (np.repeat(values, weights.astype(int)) for values in (labels, answers))
    weighted, of_all = conformal.fit(labels, answers, 0.9, weights), conformal.fit(next(repeated), next(repeated), 0.9)
    assert weighted is not None
    assert of_all is not None
    assert weighted.half_width == pytest.approx(of_all.half_width, rel=0.02)
    measured = conformal.coverage(weighted, np.array([0.0, 1e6]), np.zeros(2), np.array([3.0, 1.0]))
    assert measured["coverage"] == 0.75


@pytest.mark.parametrize(("share_of_zeros", "growth", "tolerance"), [(0.0, 20, 0.02), (0.03, 8, 0.1)])
def test_an_interval_of_a_skewed_label_grows_with_the_answer_and_holds_its_share_of_small_and_large(
    share_of_zeros, growth, tolerance
):
    rng = np.random.default_rng(0)
    answers = np.exp(rng.normal(size=8000) * 1.5)
    labels = answers * np.exp(rng.normal(size=8000) * 0.3)
    labels[rng.random(8000) < share_of_zeros] = 0
    interval = conformal.fit(labels[:4000], answers[:4000], 0.9, scaled=True)
    assert interval is not None
    low, high = interval.bounds(np.array([0.1, 10.0]))
    assert (high - low)[1] > growth * (high - low)[0]
    large = answers[4000:] > 1
    for part in (large, ~large):
        measured = conformal.coverage(interval, labels[4000:][part], answers[4000:][part])
        assert measured["coverage"] == pytest.approx(0.9, abs=tolerance)
        assert measured["low"] < measured["coverage"] < measured["high"]


def test_a_label_that_is_not_skewed_keeps_an_interval_of_one_width():
    interval = fit_drawn(500, 0, 0.9, scaled=True)
    assert interval is not None
    assert interval.scale_width is None


@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
def test_the_answers_of_a_fitted_combiner_are_those_of_the_other_folds(kind):
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(25, 1))
    outputs = {
        f"m{i}": rng.normal(size=(25, 1)).astype(np.float32) for i in range(6)
    }  # nothing to learn, but to overfit
    answers = combiner_fit.out_of_fold_answers(kind, "regression", labels, outputs)
    fitted = combiner_fit.fit(kind, "regression", labels, outputs, drop=False)
    inside = fitted.combiner.combine(outputs, "prediction").numpy()
    assert np.mean((labels - answers) ** 2) > np.mean((labels - inside) ** 2)


def test_an_interval_is_the_same_after_it_was_written(tmp_path):
    interval = fit_drawn(50, 0, 0.9)
    assert interval is not None
    conformal.save(interval, tmp_path)
    assert conformal.load(tmp_path) == interval
    assert conformal.load(tmp_path / "none") is None
    assert "90% interval of an answer: ± " in interval.text
