"""The analyzer of Transform that measures the mean, deviation and skewness of all columns of numbers at once.

The moments of each batch are kept until the end and merged in the order of their values: Beam brings batches in another
order each time, and the last bits of a sum of floats depend on the order of its parts. A batch has 32 bytes per column.

Batches are merged as in P. Pébay, Formulas for Robust, One-Pass Parallel Computation of Covariances and Arbitrary-Order
Statistical Moments, Sandia Report SAND2008-6212, 2008: sums of powers would lose all digits of a small deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apache_beam as beam
import numpy as np
import tensorflow_transform.beam as tft_beam
from numpy.typing import NDArray

Moments = NDArray[np.float64]  # [4, columns]: count, mean, and the sums of squared and cubed distances from the mean


class ColumnMoments(tft_beam.experimental.PTransformAnalyzer):
    """Return the mean, the deviation and the skewness of each column, float64 [3, columns].

    A batch is one array, float64 [batch, columns]; values that are not finite do not count. A column without values has
    the mean 0, and one whose values are equal the deviation 0; both have the skewness 0.

    Args:
        columns: the number of columns.
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        self._columns = columns

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection]:
        """Return the moments."""
        return (batches | beam.CombineGlobally(_Merge(self._columns)),)


class _Merge(beam.CombineFn):
    def __init__(self, columns: int) -> None:
        self._columns = columns

    def create_accumulator(self) -> list[Moments]:
        return []

    def add_input(self, batches: list[Moments], batch: Sequence[np.ndarray]) -> list[Moments]:
        batches.append(of_batch(batch[0]))
        return batches

    def merge_accumulators(self, several: Iterable[list[Moments]]) -> list[Moments]:
        return [moments for batches in several for moments in batches]

    def extract_output(self, batches: list[Moments]) -> NDArray[np.float64]:
        return summary(of_batches(batches, self._columns))


def of_batches(batches: Sequence[Moments], columns: int) -> Moments:
    """Return the moments of all rows of several batches; the order of the batches changes no bit of them.

    Args:
        batches: the moments of each batch.
        columns: the number of columns.
    """
    total = np.zeros((4, columns))
    if batches:
        stacked = np.stack(batches)  # [batches, 4, columns]
        order = np.lexsort(np.moveaxis(stacked, 1, 0)[::-1], axis=0)  # of each column, [batches, columns]
        for moments in np.take_along_axis(stacked, order[:, None, :], axis=0):
            total = merged(total, moments)
    return total


def of_batch(values: NDArray) -> Moments:
    """Return the moments of values [rows, columns]."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(known, values, 0).sum(axis=0) / np.maximum(count, 1)
    distances = np.where(known, values - mean, 0)
    return np.stack([count, mean, (distances**2).sum(axis=0), (distances**3).sum(axis=0)])


def merged(first: Moments, second: Moments) -> Moments:
    """Return the moments of all rows of both."""
    (n, mean, m2, m3), (other_n, other_mean, other_m2, other_m3) = first, second
    count = n + other_n
    rows = np.maximum(count, 1)
    delta = np.where((n > 0) & (other_n > 0), other_mean - mean, 0)
    cross = n * other_n / rows
    return np.stack(
        [
            count,
            np.where(n > 0, mean + delta * other_n / rows, other_mean),
            m2 + other_m2 + delta**2 * cross,
            m3 + other_m3 + delta**3 * cross * (n - other_n) / rows + 3 * delta * (n * other_m2 - other_n * m2) / rows,
        ]
    )


def summary(moments: Moments) -> NDArray[np.float64]:
    """Return mean, deviation and skewness, float64 [3, columns]."""
    count, mean, m2, m3 = moments
    deviation = np.sqrt(m2 / np.maximum(count, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.where(deviation > 0, m3 / np.maximum(count, 1) / deviation**3, 0)
    return np.stack([mean, deviation, np.nan_to_num(skewness)])
