"""The permutation test: how often a model that knows nothing scores as well on the same rows.

The percentile bootstrap is too sure with few rows: if two positives of 200 rows have high scores by chance, they have
them in every resample. Shuffling the predictions keeps their values and breaks their tie to the rows, so the share of
shuffles that score as well is exact, however few the rows are.

Source: R. A. Fisher, The Design of Experiments, Oliver and Boyd 1935, chapter II.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.metrics import CLASSIFICATION, Metric
from benison.components.sample_weights import effective_rows

_FEW = 50  # with more rows than this, the bootstrap is as good
_OTHERS = 5000  # of the rows of the most frequent class, this many tell as much as all


def telling_rows(problem: str, labels: NDArray, weights: NDArray | None = None) -> int:
    """Return how many rows tell a good model from a bad one: those outside the most frequent class, or all.

    Args:
        problem: binary, multiclass or regression.
        labels: see `Metric.compute`.
        weights: sample weights [rows], of which the effective number of rows is counted; None if all are equal.
    """
    if weights is None:
        return len(labels) if problem == "regression" else int(len(labels) - np.bincount(labels).max())
    every = effective_rows(weights)
    if problem != "regression":
        every = min(every, effective_rows(weights[~most_frequent(labels, weights)]))
    return int(every + 1e-9)


def most_frequent(labels: NDArray, weights: NDArray | None) -> NDArray[np.bool_]:
    """Return a mask [rows] of the rows of the most frequent class."""
    return np.asarray(labels == np.bincount(labels, weights).argmax())


def are_few(problem: str, labels: NDArray, weights: NDArray | None = None) -> bool:
    """Return True if the bootstrap alone would be too sure."""
    return telling_rows(problem, labels, weights) < _FEW


def as_good_by_chance(
    metric: Metric,
    labels: NDArray,
    prediction: NDArray,
    shuffles: int,
    seed: int,
    weights: NDArray | None = None,
) -> int:
    """Count the shuffles of the predictions that score at least as well as the predictions themselves.

    Of a very frequent class, a random part is enough: the test is exact for any rows, and a part takes seconds instead
    of minutes.

    Args:
        metric: one of `METRICS`.
        labels: see `Metric.compute`.
        prediction: predictions of the model.
        shuffles: number of shuffles.
        seed: seed of the shuffles.
        weights: sample weights [rows], which stay at their labels; None if all are equal.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    rng = np.random.default_rng(seed)
    if metric.problems <= CLASSIFICATION and len(labels) > _FEW + _OTHERS:
        frequent = most_frequent(labels, weights)
        others = np.flatnonzero(frequent)
        others = rng.choice(others, min(_OTHERS, len(others)), replace=False)
        rows = np.concatenate([np.flatnonzero(~frequent), others])
        labels, prediction = labels[rows], prediction[rows]
        weights = None if weights is None else weights[rows]
    reached = sign * metric.compute(labels, prediction, weights)
    scores = (sign * metric.compute(labels, rng.permutation(prediction), weights) for _ in range(shuffles))
    return sum(score >= reached for score in scores)
