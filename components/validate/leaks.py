"""Measure how well a column alone predicts the label, for LabelCheck and `benison init`; needs no TFX."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.metrics import METRICS

LEAK_THRESHOLD = 0.99  # AUC, or R² for regression
QUANTILE_BINS = 64
_ROWS_PER_BIN = 30  # of the coarse quantiles: the means of a few rows each are worse than the mean of all
_PRIOR_ROWS = 5  # of the mean of all rows, in the mean of a coarse group
MAX_CLASSES = 100  # less frequent classes are counted as one class


def predictive_power(values: NDArray, label: NDArray, regression: bool) -> float:
    """Measure how well a column alone predicts the label.

    Args:
        values: text or float [rows]; '' or NaN is a missing value, which counts as one more value.
        label: text [rows]; for regression float.
        regression: measure R² instead of AUC.

    Returns:
        AUC (the mean over classes, one against the rest) or R² (of the numbers or of their ranks, whichever is higher),
        from 0 to 1; 0.5 or 0 if the column predicts nothing, or if there are too few rows to tell. It is the higher one
        of all rows and, if they are at least a quarter, of the rows with a value: a copy of the label is one too if a
        tenth of its cells is missing.
    """
    known = np.isfinite(values) if values.dtype.kind == "f" else values != ""
    power = _power(values, label, regression)
    if known.all() or 4 * known.sum() < len(known):
        return power
    return max(power, _power(values[known], label[known], regression))


def _power(values: NDArray, label: NDArray, regression: bool) -> float:
    groups = _value_groups(values)
    fitted = _random_half(len(label))
    if regression:
        known = np.isfinite(label)
        fitted, evaluated = fitted & known, ~fitted & known
        if evaluated.sum() < 2:
            return 0.0
        coarse = _value_groups(values, bins=int(np.clip(len(label) // _ROWS_PER_BIN, 2, QUANTILE_BINS)))
        found = [_rank_r2(values, label, fitted, evaluated)]
        for group, prior in ((groups, 0), (coarse, _PRIOR_ROWS)):
            truth, prediction = _predict_group_means(group, label[:, None], fitted, evaluated, prior)
            found.append(METRICS["r2"].compute(truth, prediction))
        return float(np.clip(np.nan_to_num(found), 0, 1).max())
    ids = _class_ids(label)
    if not ids.any():
        return 0.5
    classes = np.eye(ids.max() + 1)[ids]
    scores = [0.5]
    if _tells(ids):
        scores.append(_rank_auc(values, ids))
    if _tells(ids[~fitted]):
        truth, by_group = _predict_group_means(groups, classes, fitted, ~fitted)
        _, by_neighbour = _predict_from_neighbours(values, classes, fitted, ~fitted)
        scores += [METRICS["auc"].compute(truth.argmax(axis=1), prediction) for prediction in (by_group, by_neighbour)]
    return float(np.nan_to_num(scores, nan=0.5).max())


def _tells(ids: NDArray[np.int64]) -> bool:
    """Return True if a column of noise hardly ever orders these rows by their class: one in a million orders does.

    With one positive in thirty rows, one column of noise in thirty would be a leak.
    """
    rare = int((ids != np.bincount(ids).argmax()).sum()) if len(ids) else 0
    return math.comb(len(ids), min(rare, len(ids) - rare)) >= 1_000_000


def _random_half(rows: int) -> NDArray[np.bool_]:
    """Return a mask of a half of the rows, always the same one; in files with pairs, every other row is a positive."""
    return np.random.default_rng(0).permutation(rows) % 2 == 0


def _rank_auc(values: NDArray, ids: NDArray[np.int64]) -> float:
    """Return the AUC of a numeric column itself, in the better direction; 0 if it has no such AUC.

    Nothing is fitted, so all rows count, and quantiles blur nothing.
    """
    if values.dtype.kind != "f" or ids.max() > 1 or not np.isfinite(values).all():
        return 0.0
    auc = METRICS["auc"].compute(ids, np.stack([-values, values], axis=1))
    return float(max(auc, 1 - auc))


def _rank_r2(values: NDArray, label: NDArray, fitted: NDArray, evaluated: NDArray) -> float:
    """Return R² of the label's ranks, interpolated between the fitted rows; NaN if the column has no numbers.

    Quantiles are too coarse to recognise a copy of a number, and a few extreme values dominate R² of the numbers.
    """
    if values.dtype.kind != "f":
        return float("nan")
    finite = np.isfinite(values)
    fitted, evaluated = fitted & finite, evaluated & finite
    if fitted.sum() < 2 or evaluated.sum() < 2 or evaluated.sum() < finite.size / 4:  # too few numbers to judge
        return float("nan")
    known, groups = np.unique(values[fitted], return_inverse=True)
    _, ids, counts = np.unique(label, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[ids] / max(len(label), 1)
    means = np.bincount(groups, ranks[fitted]) / np.bincount(groups)
    prediction = np.interp(values[evaluated], known, means)
    return float(METRICS["r2"].compute(ranks[evaluated][:, None], prediction[:, None]))


def _class_ids(label: NDArray) -> NDArray[np.int64]:
    """Return class ids in order of frequency; all classes beyond `MAX_CLASSES` share one id."""
    _, ids, counts = np.unique(label, return_inverse=True, return_counts=True)
    ranks = np.empty_like(counts)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(ranks[ids], MAX_CLASSES)


def _value_groups(values: NDArray, bins: int = QUANTILE_BINS) -> NDArray[np.int64]:
    """Return a group id for each row: one id per value or, if there are many different numbers, per quantile."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        if len(np.unique(finite)) > bins:
            edges = np.unique(np.quantile(finite, np.linspace(0, 1, bins + 1)[1:-1]))
            return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), bins)
        values = np.where(np.isfinite(values), values, np.finfo(np.float64).max)
    return np.unique(values, return_inverse=True)[1]


def _predict_group_means(
    groups: NDArray[np.int64], target: NDArray, fitted: NDArray, evaluated: NDArray, prior: float = 0
) -> tuple[NDArray, NDArray]:
    """Predict the target of the evaluated rows by the mean of their group, over the fitted rows.

    Args:
        groups: group id of each row [rows].
        target: [rows, n].
        fitted: mask [rows].
        evaluated: mask [rows].
        prior: this many rows with the mean of all fitted rows count in each group.

    Returns:
        Target and prediction of the evaluated rows; a group without fitted rows gets the mean of all fitted rows.
    """
    mean = target[fitted].mean(axis=0) if fitted.any() else np.zeros(target.shape[1])
    prediction = np.tile(mean, (int(evaluated.sum()), 1))
    size = int(groups.max(initial=0)) + 1
    counts = np.bincount(groups[fitted], minlength=size)
    sums = np.stack([np.bincount(groups[fitted], column, size) for column in target[fitted].T], axis=1)
    has_mean = counts[groups[evaluated]] > 0
    known_groups = groups[evaluated][has_mean]
    prediction[has_mean] = (sums[known_groups] + prior * mean) / (counts[known_groups, None] + prior)
    return target[evaluated], prediction


def _predict_from_neighbours(
    values: NDArray, target: NDArray, fitted: NDArray, evaluated: NDArray
) -> tuple[NDArray, NDArray]:
    """Predict the target of the evaluated rows from the fitted rows with the next smaller and larger number.

    In small tables most quantiles have no fitted row, so that an id that sorts by the label would look harmless.

    Args:
        values: see `predictive_power`; text predicts nothing, and a missing number the mean of the missing ones.
        target: [rows, n].
        fitted: mask [rows].
        evaluated: mask [rows].

    Returns:
        Target and prediction of the evaluated rows.
    """
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    truth, prediction = _predict_group_means(finite.astype(np.int64), target, fitted, evaluated)
    if (fitted & finite).any():
        known, groups = np.unique(values[fitted & finite], return_inverse=True)
        counts = np.bincount(groups)
        means = [np.bincount(groups, column) / counts for column in target[fitted & finite].T]
        numbers = values[evaluated & finite]
        prediction[finite[evaluated]] = np.stack([np.interp(numbers, known, mean) for mean in means], axis=1)
    return truth, prediction
