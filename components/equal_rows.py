"""Tells which rows with equal features are events that look the same, and which are copies of a row.

Copies must stay together: a model that has learned a row is not judged by its copy. Events must not. In a table of a
few categories most rows have an equal one; kept together, whole combinations of categories would be in `test` only, and
the rows without any value would all be in one split.

Equal features alone do not tell the two apart, but their labels do: copies have the same label, and events often do
not. Without clear evidence for events, rows are taken for copies, because a test that is too hard blesses no bad model.
A few equal rows give no evidence on their own: to part them because their labels differ would put the opposite of what
a model learned into `test`. So they follow the whole table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 0.5  # of the rows must have an equal one; OverlapCheck has the same limit
# The labels of equal rows differ at least this often, compared with the labels of any two rows.
_DIFFERENT = 0.25
_MANY = 20  # so many equal rows give evidence on their own
_LARGE = 0.05  # no copies make up this share of a table


def events(
    features: NDArray[Any], labels: NDArray[Any], labelled: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return which rows are events [rows]; equal rows are all events, or all copies.

    Args:
        features: a number per row [rows], the same for equal features, such as a hash.
        labels: a number per row [rows], the same for equal labels.
        labelled: the rows with a label [rows]; None for all.
    """
    unit, size = np.unique(features, return_inverse=True, return_counts=True)[1:]
    known = np.ones(len(unit), bool) if labelled is None else labelled
    found = (size >= _MANY) & (size >= _LARGE * len(unit))
    different, twins = _different(unit[known], labels[known], len(size))
    many = twins >= _MANY
    found[many] |= different[many] >= _DIFFERENT
    if twins.sum() > _MOST * known.sum() and np.average(different, weights=twins) >= _DIFFERENT:
        found |= True
    return found[unit]


def _different(unit: NDArray[Any], labels: NDArray[Any], units: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how often the labels of equal rows differ, compared with those of any two rows, and the number of rows.

    Args:
        unit: number of the unit of each row.
        labels: a number per row [rows], the same for equal labels.
        units: number of units.

    Returns:
        Two arrays [units]; a unit of one row has 0 rows.
    """
    size = np.bincount(unit, minlength=units)
    value, frequency = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    pair, pairs = np.unique(unit * max(len(frequency), 1) + value, return_inverse=True, return_counts=True)[1:]
    # For each row, the share of the other rows, or of its equal ones, with another label.
    of_any = float(np.mean(1 - (frequency[value] - 1) / max(len(value) - 1, 1))) if len(value) else 0.0
    of_equal = 1 - (pairs[pair] - 1) / np.maximum(size[unit] - 1, 1)
    sums = np.bincount(unit, of_equal, minlength=units)
    return sums / np.maximum(size, 1) / (of_any or np.inf), np.where(size > 1, size, 0)


def occurrences(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many equal rows come before each row [rows].

    Args:
        rows: a number per row [rows], the same for equal rows.
    """
    import pandas as pd

    return pd.Series(rows).groupby(rows).cumcount().to_numpy(np.int64)
