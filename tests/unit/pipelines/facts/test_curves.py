"""The report's curves are those of scikit-learn, thinned."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, confusion_matrix, precision_recall_curve, roc_curve

from benison.pipelines.facts import curves


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random(5000) < 0.3
    scores = np.clip(0.3 + 0.3 * (labels - 0.3) + rng.normal(0, 0.15, 5000), 0, 1).astype(np.float32)
    return labels, np.round(scores, 2), rng.choice([0.5, 1.0, 3.0], 5000)


@pytest.mark.parametrize("weighted", [False, True])
def test_roc_is_that_of_scikit_learn_with_few_points(rows: tuple, weighted: bool) -> None:
    labels, scores, weights = rows
    used = weights if weighted else None
    points = np.array(curves.roc(labels, scores, used))
    false, true, _ = roc_curve(labels, scores, sample_weight=used, drop_intermediate=False)
    assert len(points) <= curves.MOST_POINTS + 2
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    known = {(round(f, 5), round(t, 5)) for f, t in zip(false, true, strict=True)}
    assert {tuple(point) for point in points.tolist()} <= known
    assert auc(points[:, 0], points[:, 1]) == pytest.approx(auc(false, true), abs=1e-3)


def test_precision_and_recall_are_those_of_scikit_learn(rows: tuple) -> None:
    labels, scores, weights = rows
    points = np.array(curves.precision_recall(labels, scores, weights))
    precision, recall, _ = precision_recall_curve(labels, scores, sample_weight=weights)
    known = {(round(r, 5), round(p, 5)) for r, p in zip(recall, precision, strict=True)}
    assert {tuple(point) for point in points.tolist()} <= known
    area = float((np.diff(points[:, 0], prepend=0) * points[:, 1]).sum())
    assert area == pytest.approx(average_precision_score(labels, scores, sample_weight=weights), abs=0.01)


def test_thousands_of_points_are_thinned_and_keep_their_area() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(20_000) < 0.1
    scores = rng.normal(labels * 1.5)
    points = np.array(curves.roc(labels, scores))
    false, true, _ = roc_curve(labels, scores)
    assert len(points) <= curves.MOST_POINTS + 2
    assert auc(points[:, 0], points[:, 1]) == pytest.approx(auc(false, true), abs=1e-3)


def test_rows_of_one_kind_have_no_curve() -> None:
    assert curves.roc(np.ones(5, bool), np.linspace(0, 1, 5)) == []
    assert curves.precision_recall(np.zeros(5, bool), np.linspace(0, 1, 5)) == []


def test_calibration_is_that_of_scikit_learn(rows: tuple) -> None:
    labels, scores, _ = rows
    scores = scores + 0.001  # not on the edge of a bin, where the two differ
    bins = curves.calibration(labels, scores, least=1)
    observed, predicted = calibration_curve(labels, scores.clip(0, 1), n_bins=10)
    np.testing.assert_allclose([b.observed for b in bins], observed, atol=1e-6)
    np.testing.assert_allclose([b.predicted for b in bins], predicted, atol=2e-3)
    assert all(b.low <= b.observed <= b.high for b in bins)
    assert sum(b.rows for b in bins) == len(labels)


def test_a_few_rows_make_no_point_of_their_own(rows: tuple) -> None:
    labels, scores, _ = rows
    scores = np.where(np.arange(len(scores)) < 3, 0.99, scores * 0.5)
    bins = curves.calibration(labels, scores)
    assert min(b.rows for b in bins) >= 20
    assert sum(b.rows for b in bins) == len(labels)


def test_confusion_is_that_of_scikit_learn_at_the_threshold(rows: tuple) -> None:
    labels, scores, weights = rows
    decided = curves.decisions(np.column_stack([1 - scores, scores]), 0.25)
    matrix = curves.confusion(labels.astype(int), decided, 2, weights)
    np.testing.assert_allclose(matrix, confusion_matrix(labels, scores >= np.float32(0.25), sample_weight=weights))


def test_the_cheapest_threshold_has_the_lowest_mean_cost(rows: tuple) -> None:
    labels, scores, weights = rows
    found = curves.costs(labels, scores, 10.0, 1.0, weights)

    def cost(threshold: float) -> float:
        acts = scores >= np.float32(threshold)
        each = np.where(acts, ~labels * 1.0, labels * 10.0)
        return float(np.average(each, weights=weights))

    thresholds = [x for x, _ in found.points]
    middles = [x + 0.005 for x in thresholds[:-1]]  # no score is there, so rounding decides nothing
    points = dict(found.points)
    assert points[0.0] == pytest.approx(cost(0.0))
    assert cost(found.best) == pytest.approx(min(map(cost, [*thresholds, *middles])), abs=1e-6)


def test_a_regression_is_counted_in_a_grid_and_an_outlier_does_not_squeeze_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(100, 10, 5000)
    labels[0] = 1e9
    grid = curves.predicted_against_label(labels, labels + rng.normal(0, 1, 5000))
    assert grid is not None
    assert grid.ends[1] < 200
    assert sum(cell[-1] for cell in grid.cells) + grid.outside == 5000
    ends = curves.residual_ends(labels, [labels - 1.0])
    histogram = curves.residuals(labels, labels - 1.0, ends)
    assert sum(share for *_, share in histogram.bins) == pytest.approx(1)
