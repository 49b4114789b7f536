"""The lines of a vocabulary of several columns: one file, so that one table serves all columns.

A line is the column's number, ':' and a value in which line breaks are escaped. Each column has a fixed number of
lines, one column after the other. A column with fewer values is filled up with lines such as `3-7`, which no value has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

SUFFIX = ".columns"  # of the name of such a file
# Each replacement, in this order: a value has a line of a vocabulary, which its line breaks would end.
LINE_ESCAPES = (("\\", r"\\"), ("\n", r"\n"), ("\r", r"\r"))


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


def as_line(name: str) -> str:
    """Return a value with its line breaks escaped."""
    for text, escape in LINE_ESCAPES:
        name = name.replace(text, escape)
    return name


def from_line(line: str) -> str:
    """Return the value of an escaped one."""
    texts = {escape: text for text, escape in LINE_ESCAPES}
    return re.sub(r"\\[\\nr]", lambda match: texts[match[0]], line)


def values_by_column(file: Path) -> dict[int, list[str]]:
    """Read the values of each column, by the column's number, in the order of their ids.

    Raises:
        OSError: The file cannot be read.
    """
    columns: dict[int, list[str]] = {}
    for line in file.read_bytes().split(b"\n"):
        if (found := value(line)) is not None:
            columns.setdefault(found[0], []).append(from_line(found[1].decode("utf-8", "replace")))
    return columns
