"""Target statistics: numbers in place of the ids of a category with many values, such as the mean label of each value.

A row's own label must not be in its number, or the trees would read the label from it. In training, the statistics of
a row therefore come from the rows of other folds; those of other rows, in `valid` or in a request, from all of `train`.
The mean of n rows counts `PRIOR` more rows with the mean of all, so that a value that was seen once says little. Rows
count by their sample weights, whose mean is 1 here.

D. Micci-Barreca, A Preprocessing Scheme for High-Cardinality Categorical Attributes in Classification and Prediction
Problems, SIGKDD Explorations 3(1), 2001; out of fold as in L. Prokhorenkova et al., CatBoost: unbiased boosting with
categorical features, NeurIPS 2018, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.sample_weights import normalized

PRIOR = 5.0  # rows
FOLDS = 5
MAX_TARGETS = 10  # the most frequent classes


@dataclass(frozen=True)
class TargetStatistics:
    """The statistics of some columns of ids.

    Attributes:
        columns: int [columns], which columns of ids have statistics.
        sizes: int64 [columns], number of ids; greater and negative ones were not in training.
        tables: float32 [columns, 1 + largest size, statistics] by column and id + 1; at 0 is an id not in training. The
            last statistic is the logarithm of the number of rows.
    """

    columns: NDArray
    sizes: NDArray
    tables: NDArray

    @property
    def count(self) -> int:
        """The number of statistics of all columns."""
        return int(self.tables.shape[0] * self.tables.shape[2])

    def arrays(self, ids: NDArray) -> NDArray:
        """Return the statistics float32 [rows, columns x statistics] for ids [rows, all columns]."""
        return np.concatenate(
            [np.zeros((len(ids), 0), np.float32)]
            + [
                table[_places(ids[:, column], size)]
                for column, size, table in zip(self.columns, self.sizes, self.tables, strict=True)
            ],
            axis=1,
        )

    def function(self) -> Callable[[Any], Any]:
        """Return `arrays` as TensorFlow operations; the tables are constants outside of the graphs of its callers."""
        import tensorflow as tf

        if not len(self.columns):
            return lambda ids: tf.zeros([tf.shape(ids)[0], 0], tf.float32)
        columns, sizes = tf.constant(self.columns, tf.int32), tf.constant(self.sizes, tf.int64)
        stride = self.tables.shape[1]
        tables = tf.constant(self.tables.reshape(-1, self.tables.shape[2]))
        first = tf.constant(np.arange(len(self.columns)) * stride, tf.int64)

        def statistics(ids: Any) -> Any:
            own = tf.gather(ids, columns, axis=1)
            places = tf.where((own >= 0) & (own < sizes), own + 1, tf.zeros_like(own))
            return tf.reshape(tf.gather(tables, places + first), [-1, self.count])

        return statistics


def fit(
    ids: NDArray, columns: NDArray, targets: NDArray, weights: NDArray, seed: int
) -> tuple[TargetStatistics, NDArray]:
    """Compute the statistics of training rows.

    Args:
        ids: int64 [rows, all columns].
        columns: int [columns], which of them get statistics.
        targets: float [rows, targets]: the label, or for each class whether the row is of it.
        weights: float [rows], sample weights.
        seed: seed of the folds.

    Returns:
        The statistics for other rows, and those of the training rows out of fold, float32 [rows, columns x statistics].
    """
    sizes = np.array([max(int(ids[:, column].max(initial=-1)) + 1, 0) for column in columns], np.int64)
    largest, width = int(sizes.max(initial=0)), targets.shape[1] + 1
    tables = np.zeros((len(columns), largest + 1, width), np.float32)
    folds = np.random.default_rng(seed).integers(0, FOLDS, len(ids))
    rows = np.zeros((len(ids), len(columns) * width), np.float32)
    weights = normalized(weights)[:, None]
    weighed = np.concatenate([targets * weights, weights], axis=1)
    prior = weighed[:, :-1].mean(axis=0)
    for number, (column, size) in enumerate(zip(columns, sizes, strict=True)):
        places = _places(ids[:, column], size)
        sums = np.zeros((FOLDS, largest + 1, width))
        np.add.at(sums, (folds, places), weighed)
        total = sums.sum(axis=0)
        tables[number] = _smoothed(total, prior)
        own = slice(number * width, (number + 1) * width)
        for fold in range(FOLDS):
            members = folds == fold
            rows[members, own] = _smoothed(total - sums[fold], prior)[places[members]]
    return TargetStatistics(np.asarray(columns, np.int64), sizes, tables), rows


def _smoothed(sums: NDArray, prior: NDArray) -> NDArray:
    """Return smoothed means and the logarithm of the number of rows, from sums whose last column is that number."""
    counts = sums[:, -1:]
    means = (sums[:, :-1] + PRIOR * prior) / (counts + PRIOR)
    return np.concatenate([means, np.log1p(counts)], axis=1).astype(np.float32)


def _places(ids: NDArray, size: int) -> NDArray:
    return np.where((ids >= 0) & (ids < size), ids + 1, 0)
