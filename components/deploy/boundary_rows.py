"""Builds boundary rows: missing cells, the ends of what was seen, out-of-vocabulary values, extreme and odd values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.missing_values import marker

_TEXTS = (
    "",
    "\N{SNOWMAN} never seen in training",
    " ",
    "NaN",
    "x" * 1000,
    "\N{HEBREW LETTER ALEF}\N{ARABIC LETTER BEH}é",
)
_FLOATS = (np.nan, -1.0, 0.0, -0.0, 1e30, -1e30, 1e-30)
_MOST = 600  # rows: they are sent on every path, so their cells are what a trial of many columns costs
_INTEGERS = (-1, 0, 2**31 - 1, -(2**31), 1, 2)


@dataclass(frozen=True)
class RawColumn:
    """An input of the signature `raw`.

    Attributes:
        dtype: NumPy dtype: object (text as bytes), floating or integer.
        usual: a real value, for the rows in which other columns have a boundary value; an array [n] if a row has
            several.
        missing: the value that stands for a missing cell; None if the column is required.
        seen: the smallest and the largest value of `train`; empty if unknown.
    """

    dtype: Any
    usual: Any
    missing: Any = None
    seen: tuple[Any, ...] = ()

    @property
    def boundaries(self) -> tuple[Any, ...]:
        """The boundary values; the first is a missing cell if the column may have one."""
        kind = np.dtype(self.dtype).kind
        if isinstance(self.usual, np.ndarray):  # several values: none of them, or the same odd one in all places
            odd: tuple[Any, ...] = {"O": _TEXTS[:2], "f": _FLOATS[:4], "i": (marker("int64"), *_INTEGERS)}[kind]
            return tuple(np.full_like(self.usual, v.encode() if kind == "O" else v) for v in odd)
        if kind == "O":
            missing = () if self.missing is None else (self.missing.encode(),)
            return (*missing, *(text.encode() for text in _TEXTS))
        missing = () if self.missing is None else (self.missing,)
        return (*missing, *self.seen, *(_FLOATS if kind == "f" else _INTEGERS))


def boundary_rows(columns: Mapping[str, RawColumn], most: int = _MOST) -> dict[str, NDArray]:
    """Build rows in which one column at a time, and then all columns, have a boundary value.

    With very many columns, several at a time have one: each value of each column is still beside usual values.

    Args:
        columns: the inputs of `raw`.
        most: about the most rows to build.

    Returns:
        Values [rows] by input.
    """
    usual = {name: column.usual for name, column in columns.items()}
    edges = {name: column.boundaries for name, column in columns.items()}
    at_once = max(1, -(-sum(map(len, edges.values())) // most))
    together = [list(edges)[start::step] for step in [-(-len(edges) // at_once)] for start in range(step)]
    rows: list[dict[str, Any]] = [
        {**usual, **{name: edges[name][index] for name in names if index < len(edges[name])}}
        for names in together
        for index in range(max(len(edges[name]) for name in names))
    ]
    for index in range(max(map(len, edges.values()), default=0)):
        rows.append({name: values[index % len(values)] for name, values in edges.items()})
    return {name: _array([row[name] for row in rows], column.dtype) for name, column in columns.items()}


def _array(values: list[Any], dtype: Any) -> NDArray:
    if isinstance(values[0], np.ndarray):
        return np.stack(values)
    if np.dtype(dtype).kind == "O":
        array = np.empty(len(values), object)
        array[:] = values
        return array
    return np.array(values, dtype)
