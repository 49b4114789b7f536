"""Tells whether rows with equal features are copies of a row, or events that look the same.

Copies must stay together: a model that has learned a row is not judged by its copy. Events must not. In a table of a
few categories most rows have an equal one; kept together, whole combinations of categories would be in `test` only.

Equal features alone do not tell the two apart, but their labels do: copies have the same label, and events often do
not. Without clear evidence for events, rows are taken for copies, because a test that is too hard blesses no bad model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 0.5  # of the rows must have an equal one; OverlapCheck has the same limit
# The labels of equal rows differ at least this often, compared with the labels of any two rows.
_DIFFERENT = 0.25


def are_events(features: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Return True if most rows have an equal one, and the labels of equal rows differ.

    Args:
        features: a number per row [rows], the same for equal features, such as a hash.
        labels: a number per row [rows], the same for equal labels.
    """
    unit, size = np.unique(features, return_inverse=True, return_counts=True)[1:]
    twins = size[unit] > 1
    if twins.sum() <= _MOST * len(twins):
        return False
    value, frequency = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    pair, pairs = np.unique(unit * len(frequency) + value, return_inverse=True, return_counts=True)[1:]
    # For each row, the share of the other rows, or of its equal ones, with another label.
    of_any = 1 - (frequency[value] - 1) / (len(value) - 1)
    of_equal = 1 - (pairs[pair][twins] - 1) / (size[unit][twins] - 1)
    return bool(of_any.mean() > 0 and of_equal.mean() >= _DIFFERENT * of_any.mean())


def occurrences(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many equal rows come before each row [rows].

    Args:
        rows: a number per row [rows], the same for equal rows.
    """
    import pandas as pd

    return pd.Series(rows).groupby(rows).cumcount().to_numpy(np.int64)
