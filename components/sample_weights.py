"""Sample weights (`weight:` of the YAML): how many rows of the population a row stands for.

A row of weight 2 counts as two equal rows, and one of weight 0 as none. Only the ratios of weights matter: where
weights meet a number of rows, as in a penalty, they are divided by their mean.

Unequal weights tell less than as many equal ones. Where a number of rows decides whether they are enough, the effective
number decides: (Σw)² / Σw² (L. Kish, Survey Sampling, Wiley 1965, section 11.7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def equal(rows: int) -> NDArray[np.float64]:
    """Return the weights of rows that all count once."""
    return np.ones(rows)


def normalized(weights: NDArray) -> NDArray[np.float64]:
    """Return weights with the mean 1."""
    return weights / weights.mean(dtype=np.float64) if len(weights) else np.zeros(0)


def effective_rows(weights: NDArray) -> float:
    """Return how many rows of equal weight tell as much as these; it is their number if all weights are equal."""
    unit = normalized(weights)
    return round(float(unit.sum() ** 2 / (unit**2).sum()), 6) if len(unit) else 0.0  # 50 equal rows are no 49.999…


def mean_and_error(values: NDArray, weights: NDArray) -> tuple[float, float]:
    """Compute the weighted mean of values [rows] and its standard error.

    The error is that of a ratio of sums by linearisation (W. G. Cochran, Sampling Techniques, 3rd edition, Wiley 1977,
    section 6.4); for equal weights it is the deviation / √rows.
    """
    shares = weights / weights.sum()
    mean = float(shares @ values)
    rows = len(values)
    return mean, float(np.sqrt((shares**2) @ (values - mean) ** 2 * rows / (rows - 1)))


def median(values: NDArray, weights: NDArray) -> float:
    """Return the weighted median: the middle of the values that half of the weight is not above, and not below."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order], dtype=np.float64)
    half = upto[-1] / 2
    low = np.searchsorted(upto, half * (1 - 1e-12), side="left")
    high = np.searchsorted(upto, half * (1 + 1e-12), side="right")
    return (float(values[order[low]]) + float(values[order[min(high, len(order) - 1)]])) / 2


def of_cells(cells: Any) -> Any:
    """Return the weight of each row, Tensor float32 [batch]; 0 if there is none, which `weight_values` refuses.

    Args:
        cells: the raw column of numbers, Tensor [batch, 1] or SparseTensor.
    """
    import tensorflow as tf

    from benison.components.raw_columns import dense

    return dense(tf.cast(cells, tf.float32), default=0.0)[:, 0]
