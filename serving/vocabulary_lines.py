"""The lines of a vocabulary of several columns: one file, so that one table serves all columns.

A line is the column's number, ':' and a value in which line breaks are escaped. Each column has a fixed number of
lines, one column after the other. A column with fewer values is filled up with lines such as `3-7`, which no value has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SUFFIX = ".columns"  # of the name of such a file


def prefix(column: int) -> bytes:
    """Return how the lines of a column's values begin."""
    return b"%d:" % column


def lines(columns: Sequence[Sequence[bytes]], sizes: Sequence[int]) -> list[bytes]:
    """Return the lines of a file.

    Args:
        columns: the escaped values of each column, in the order of their ids.
        sizes: the number of lines of each column.
    """
    return [
        prefix(column) + values[position] if position < len(values) else b"%d-%d" % (column, position)
        for column, (values, size) in enumerate(zip(columns, sizes, strict=True))
        for position in range(size)
    ]


def value(line: bytes) -> tuple[int, bytes] | None:
    """Return the column and the escaped value of a line; None if the line only fills up a column."""
    match = re.fullmatch(rb"(\d+):(.*)", line, re.DOTALL)
    return (int(match[1]), match[2]) if match else None
