"""Consecutive records of a file of any form, as Arrow batches of text or as rows with their positions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from benison.serving.errors import DataError


@dataclass(frozen=True)
class Row:
    """One record and its position.

    Attributes:
        file: The path.
        line: The line of the file on which it begins; in a Parquet file the number of the row, from 1.
        cells: The cells as text; a list of values is JSON.
        unit: `line` or `row`, as `line` counts.
    """

    file: str
    line: int
    cells: list[str]
    unit: str = "line"

    @property
    def place(self) -> str:
        """The place in the file, such as `line 3`."""
        return f"{self.unit} {self.line}"


@dataclass(frozen=True)
class Chunk:
    """Consecutive records of a file, all as long as its header.

    Attributes:
        file: The path.
        header: The names of the columns.
        lines: The line on which each record begins, or its number.
        arrow: The cells as an Arrow record batch, see `batch`; None if Python's csv read them.
        cells: The cells of each record, if Python's csv read them.
        unit: `line` or `row`, as `lines` count.
    """

    file: str
    header: Sequence[str]
    lines: Sequence[int]
    arrow: Any = None
    cells: Sequence[list[str]] = ()
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def part(self, start: int, most: int) -> Chunk:
        """Return up to `most` of the records, from one of them on."""
        part = slice(start, start + most)
        arrow = None if self.arrow is None else self.arrow.slice(start, most)
        return Chunk(self.file, self.header, self.lines[part], arrow, self.cells[part], self.unit)

    def batch(self) -> Any:
        """Return an Arrow record batch: a column of text, or of lists of text, per column of the file. None is null."""
        if self.arrow is None:
            columns = [pa.array(cells, pa.string()) for cells in zip(*self.cells, strict=True)]
            columns = columns or [pa.array([], pa.string()) for _ in self.header]
        else:
            columns = self.arrow.columns
        return pa.RecordBatch.from_arrays(columns, names=list(self.header))

    def rows(self) -> list[Row]:
        """Return the records with their positions."""
        cells = self.cells
        if self.arrow is not None:  # to_pylist is ten times slower
            columns = [_texts(column) for column in self.arrow.columns]
            cells = [list(record) for record in zip(*columns, strict=True)]
        return [Row(self.file, line, record, self.unit) for line, record in zip(self.lines, cells, strict=True)]

    def is_list(self, index: int) -> bool:
        """Return True if a column has any number of values per row."""
        return self.arrow is not None and pa.types.is_list(self.arrow.schema.field(index).type)


def _texts(column: Any) -> list[str]:
    if pa.types.is_list(column.type):
        return [json.dumps(values, ensure_ascii=False) if values else "" for values in column.to_pylist()]
    return list(column.to_numpy(zero_copy_only=False).tolist())


def check_names(where: str, names: Sequence[str]) -> None:
    """Raise DataError if a column has no name, or the name of another one.

    Args:
        where: the place of the names, for the message.
        names: the names.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        fault = (
            f"column {repeated[0]!r} appears more than once"
            if repeated
            else f"column {names.index('') + 1} has no name"
        )
        index = "; if it is the index of pandas, write the file with index=False" if names[0] == "" else ""
        raise DataError(f"{where}: {fault}; give each column a unique name{index}")
