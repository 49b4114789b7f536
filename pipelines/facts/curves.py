"""Compute curves of scores: ROC, precision and recall, calibration, confusion, costs, and residuals.

All of them are thinned or binned here, so that a drawing has some hundred points, not one per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_POINTS = 160
Points = Sequence[tuple[float, float]]


def roc(positive: NDArray, scores: NDArray, weights: NDArray | None = None) -> Points:
    """Return false and true positive rates at falling thresholds, from (0, 0) to (1, 1).

    Args:
        positive: True for rows of the positive class [rows].
        scores: its probability [rows].
        weights: sample weights [rows]; None if all are equal.

    Returns:
        At most some `MOST_POINTS` points; none if there are only rows of one kind.
    """
    true, false, _ = _cumulated(positive, scores, weights)
    if not len(true) or true[-1] <= 0 or false[-1] <= 0:
        return []
    rates = np.column_stack([np.r_[0, false / false[-1]], np.r_[0, true / true[-1]]])
    return _thinned(rates)


def precision_recall(positive: NDArray, scores: NDArray, weights: NDArray | None = None) -> Points:
    """Return recall and precision at falling thresholds; see `roc`."""
    true, false, _ = _cumulated(positive, scores, weights)
    if not len(true) or true[-1] <= 0:
        return []
    return _thinned(np.column_stack([true / true[-1], true / (true + false)]))


def _cumulated(positive: NDArray, scores: NDArray, weights: NDArray | None) -> tuple[NDArray, NDArray, NDArray]:
    """Return the weight of true and false positives at each threshold, and the thresholds, falling."""
    order = np.argsort(-scores, kind="stable")
    hits, falling = np.asarray(positive)[order].astype(float), scores[order]
    rows = np.ones(len(hits)) if weights is None else weights[order]
    ends = np.r_[np.flatnonzero(np.diff(falling)), len(falling) - 1] if len(falling) else np.zeros(0, int)
    return np.cumsum(hits * rows)[ends], np.cumsum((1 - hits) * rows)[ends], falling[ends]


def _thinned(points: NDArray) -> Points:
    """Return points that are spread evenly along the curve, with both ends."""
    if len(points) > MOST_POINTS:
        along = np.r_[0, np.cumsum(np.abs(np.diff(points, axis=0)).sum(axis=1))]
        picked = np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS))
        points = points[np.unique(np.r_[0, picked.clip(0, len(points) - 1), len(points) - 1])]
    return [(round(float(x), 5), round(float(y), 5)) for x, y in points]


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose probabilities are alike.

    Attributes:
        predicted: mean probability.
        observed: share of the rows that are of the class.
        low: lower end of its 95 % interval (Wilson).
        high: upper end.
        rows: number of rows.
    """

    predicted: float
    observed: float
    low: float
    high: float
    rows: int


def calibration(
    positive: NDArray, scores: NDArray, weights: NDArray | None = None, bins: int = 10, least: int = 20
) -> list[CalibrationBin]:
    """Compare probabilities with frequencies, in bins of equal width between 0 and 1.

    Args:
        positive: True for rows of the class [rows].
        scores: its probability [rows].
        weights: sample weights [rows]; None if all are equal.
        bins: number of bins.
        least: bins with fewer rows are joined with the next ones, because a few rows tell nothing.
    """
    rows = np.ones(len(scores)) if weights is None else weights
    places = np.clip((scores * bins).astype(int), 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    joined: list[list[int]] = []
    for place in range(bins):
        if joined and counts[joined[-1]].sum() < least:
            joined[-1].append(place)
        else:
            joined.append([place])
    if len(joined) > 1 and counts[joined[-1]].sum() < least:
        joined[-2:] = [joined[-2] + joined[-1]]
    result = []
    for group in joined:
        here = np.isin(places, group)
        total = float(rows[here].sum())
        if total <= 0:
            continue
        predicted = float((scores[here] * rows[here]).sum() / total)
        observed = float((positive[here] * rows[here]).sum() / total)
        effective = total**2 / float((rows[here] ** 2).sum())
        low, high = _wilson(observed, effective)
        result.append(CalibrationBin(predicted, observed, low, high, int(here.sum())))
    return result


def _wilson(share: float, rows: float, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, JASA 1927)."""
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def decisions(outputs: NDArray, threshold: float | None) -> NDArray:
    """Return the id of the class that the model decides for [rows]; float32 as the served model compares."""
    if threshold is None:
        return np.asarray(outputs.argmax(axis=1))
    return (outputs[:, 1].astype(np.float32) >= np.float32(threshold)).astype(np.int64)


def confusion(labels: NDArray, decided: NDArray, classes: int, weights: NDArray | None = None) -> NDArray:
    """Return the weight of the rows by label and decision, float64 [classes, classes]."""
    matrix = np.zeros((classes, classes))
    np.add.at(matrix, (labels, decided), 1.0 if weights is None else weights)
    return matrix


@dataclass(frozen=True)
class CostCurve:
    """The mean cost of a row by threshold.

    Attributes:
        points: thresholds and mean costs.
        best: the threshold with the lowest mean cost on these rows.
    """

    points: Points
    best: float


def costs(
    positive: NDArray,
    scores: NDArray,
    false_negative: float,
    false_positive: float,
    weights: NDArray | None = None,
) -> CostCurve:
    """Compute the mean cost per row of deciding for the positive class from each threshold on."""
    rows = np.ones(len(scores)) if weights is None else weights
    thresholds = np.linspace(0, 1, 101)
    order = np.argsort(scores)
    hits, rising = (positive * rows)[order], scores[order]
    misses = ((1 - positive) * rows)[order]
    below = np.searchsorted(rising, thresholds, side="left")
    lost = np.r_[0, np.cumsum(hits)][below]  # positive rows below the threshold
    wrong = misses.sum() - np.r_[0, np.cumsum(misses)][below]
    mean = (lost * false_negative + wrong * false_positive) / rows.sum()
    points = [(round(float(x), 4), float(y)) for x, y in zip(thresholds, mean, strict=True)]
    return CostCurve(points, float(thresholds[int(mean.argmin())]))


@dataclass(frozen=True)
class Grid:
    """Rows counted in a grid of two numbers.

    Attributes:
        cells: low and high of x, low and high of y, and the rows in it; empty cells are left out.
        ends: the smallest and the largest value of both numbers that is drawn.
        outside: rows outside the grid.
    """

    cells: Sequence[tuple[float, float, float, float, int]]
    ends: tuple[float, float]
    outside: int


def predicted_against_label(labels: NDArray, predictions: NDArray, size: int = 40) -> Grid | None:
    """Count rows by label and prediction; the ends are the outer half percent of both, so that one row hides nothing.

    Args:
        labels: targets [rows].
        predictions: of one model [rows].
        size: number of cells along each side.
    """
    finite = np.isfinite(labels) & np.isfinite(predictions)
    x, y = labels[finite], predictions[finite]
    if not len(x):
        return None
    both = np.r_[x, y]
    low, high = (float(end) for end in np.quantile(both, [0.005, 0.995] if len(x) > 1000 else [0, 1]))
    if high <= low:
        high = low + 1.0
    edges = np.linspace(low, high, size + 1)
    counts, _, _ = np.histogram2d(x, y, bins=size, range=[(low, high), (low, high)])
    cells = [
        (float(edges[i]), float(edges[i + 1]), float(edges[j]), float(edges[j + 1]), int(counts[i, j]))
        for i, j in zip(*np.nonzero(counts), strict=True)
    ]
    return Grid(cells, (float(low), float(high)), len(x) - int(counts.sum()))


@dataclass(frozen=True)
class Histogram:
    """Values counted in ranges of equal width: low and high end, and the share of the rows."""

    bins: Sequence[tuple[float, float, float]]


def residuals(labels: NDArray, predictions: NDArray, ends: tuple[float, float]) -> Histogram:
    """Count the residuals (label minus prediction) between two ends; those beyond count at the ends.

    The number of bins is Rice's, 2 n^(1/3), an even number from 10 to 40.
    """
    finite = np.isfinite(labels) & np.isfinite(predictions)
    values = np.clip(labels[finite] - predictions[finite], *ends)
    bins = int(np.clip(2 * round(len(values) ** (1 / 3)), 10, 40))
    counts, edges = np.histogram(values, bins=bins, range=ends)
    share = counts / max(len(values), 1)
    return Histogram([(float(a), float(b), float(s)) for a, b, s in zip(edges[:-1], edges[1:], share, strict=True)])


def residual_ends(labels: NDArray, predictions: Sequence[NDArray]) -> tuple[float, float]:
    """Return symmetric ends that hold 99 % of the residuals of all models."""
    sizes = np.concatenate([np.abs(labels - values) for values in predictions])
    sizes = sizes[np.isfinite(sizes)]
    end = float(np.quantile(sizes, 0.99)) if len(sizes) else 1.0
    return (-end, end) if end > 0 else (-1.0, 1.0)
