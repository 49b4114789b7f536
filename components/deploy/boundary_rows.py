"""Builds boundary rows: missing values, out-of-vocabulary values, NaN, extreme numbers, empty and unusual text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_TEXTS = (
    "",
    "\N{SNOWMAN} never seen in training",
    " ",
    "NaN",
    "x" * 1000,
    "\N{HEBREW LETTER ALEF}\N{ARABIC LETTER BEH}é",
)
_FLOATS = (np.nan, 0.0, -0.0, 1e30, -1e30, 1e-30)
_INTEGERS = (-1, 0, 2**31 - 1, -(2**31), 1, 2)


def boundary_rows(columns: Mapping[str, Any], usual: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Build rows in which one column at a time, and then all columns, have a boundary value.

    Args:
        columns: NumPy dtype by argument of the signature `raw`: object (text as bytes), floating or integer.
        usual: real values by argument, [1 or more]; the first ones fill the other columns.

    Returns:
        Values [rows] by argument.
    """
    edges = {name: _edges(dtype) for name, dtype in columns.items()}
    rows: list[dict[str, Any]] = []
    plain = {name: usual[name][0] for name in columns}
    for name, values in edges.items():
        rows += [{**plain, name: value} for value in values]
    for index in range(len(_TEXTS)):
        rows.append({name: values[index] for name, values in edges.items()})
    return {name: _array([row[name] for row in rows], columns[name]) for name in columns}


def _edges(dtype: Any) -> tuple[Any, ...]:
    kind = np.dtype(dtype).kind
    if kind == "O":
        return tuple(text.encode() for text in _TEXTS)
    return _FLOATS if kind == "f" else _INTEGERS


def _array(values: list[Any], dtype: Any) -> np.ndarray:
    if np.dtype(dtype).kind == "O":
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.array(values, dtype)
