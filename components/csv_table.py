"""CSV files as one table: read in order and in batches, with file and line kept for messages."""

from __future__ import annotations

import csv
import glob
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa

from serving.errors import DataError

BATCH_ROWS = 8192
KINDS = ("int", "float", "bytes")  # each holds all values of those before it
_ARROW = {
    "int": pa.large_list(pa.int64()),
    "float": pa.large_list(pa.float32()),
    "bytes": pa.large_list(pa.large_binary()),
}
_EXPECTED = {"int": "a whole number", "float": "a finite number"}
_FLOAT32_MAX = 3.4028234663852886e38


@dataclass(frozen=True)
class Row:
    """One record, with where it stands; `line` is the file's line on which it begins."""

    file: str
    line: int
    cells: list[str]


@dataclass(frozen=True)
class CsvTable:
    """Files with one header.

    Attributes:
        files: paths, read in this order.
        missing: cells that mean "no value".
        delimiter: between cells.
        encoding: of the bytes; a UTF-8 byte order mark is passed over.
    """

    files: tuple[str, ...]
    missing: frozenset[str] = frozenset({""})
    delimiter: str = ","
    encoding: str = "utf-8"

    @classmethod
    def matching(cls, pattern: str, **options: Any) -> CsvTable:
        """The files that match a glob pattern, sorted.

        Raises:
            DataError: there are none.
        """
        return cls(matching_files(pattern), **options)

    @cached_property
    def header(self) -> list[str]:
        """The names of the columns.

        Raises:
            DataError: a file is empty, its header differs from the first one's, or a name is empty or stands twice.
        """
        first: list[str] = []
        for file in self.files:
            row = next(self._records(file), None)
            if row is None or not any(row.cells):
                raise DataError(f"{file}: empty; expected a header line with the names of the columns")
            if first and row.cells != first:
                raise DataError(f"{file}: its header differs from that of {self.files[0]}")
            first = row.cells
        repeated = sorted({name for name in first if first.count(name) > 1})
        if repeated or "" in first:
            what = f"column {repeated[0]!r} stands twice" if repeated else f"column {first.index('') + 1} has no name"
            raise DataError(f"{self.files[0]}, line 1: {what}; each column needs a name of its own")
        return first

    def rows(self) -> Iterator[Row]:
        """The records of all files in order, without blank lines.

        Raises:
            DataError: a record has more or fewer cells than the header, or a file cannot be read as it should be.
        """
        header = self.header
        for file in self.files:
            for row in islice(self._records(file), 1, None):
                if not row.cells:
                    continue
                if len(row.cells) != len(header):
                    raise DataError(
                        f"{file}, line {row.line}: {len(row.cells)} cells, expected {len(header)} as in the header"
                    )
                yield row

    def infer_kinds(self, columns: Sequence[str]) -> dict[str, str]:
        """The narrowest of `KINDS` that holds all values of each column; bytes where there is none."""
        wanted = {name: self.header.index(name) for name in columns}
        kinds: dict[str, str] = {}
        for row in self.rows() if wanted else ():
            for name, index in wanted.items():
                cell = row.cells[index]
                if kinds.get(name) != "bytes" and cell not in self.missing:
                    kinds[name] = max(kinds.get(name, "int"), kind_of(cell), key=KINDS.index)
        return {name: kinds.get(name, "bytes") for name in columns}

    def batches(self, kinds: Mapping[str, str]) -> Iterator[tuple[list[Row], pa.RecordBatch]]:
        """Up to BATCH_ROWS rows at a time, also as an Arrow batch: one list column per CSV column, missing being null.

        Args:
            kinds: of each column.

        Raises:
            DataError: a cell does not have its column's type; names file, line and column.
        """
        rows = self.rows()
        while chunk := list(islice(rows, BATCH_ROWS)):
            arrays = [self._column(chunk, index, name, kinds[name]) for index, name in enumerate(self.header)]
            yield chunk, pa.RecordBatch.from_arrays(arrays, names=self.header)

    def _column(self, chunk: Sequence[Row], index: int, name: str, kind: str) -> pa.Array:
        values: list[Any] = []
        for row in chunk:
            cell = row.cells[index]
            if cell in self.missing:
                values.append(None)
                continue
            try:
                values.append([_convert(cell, kind)])
            except ValueError:
                raise DataError(
                    f"{row.file}, line {row.line}, column {name!r}: got {cell[:80]!r}, expected {_EXPECTED[kind]}; "
                    "if it means a missing value, add it to data.missing, else mend the file or the schema"
                ) from None
        return pa.array(values, type=_ARROW[kind])

    def _records(self, file: str) -> Iterator[Row]:
        encoding = "utf-8-sig" if self.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else self.encoding
        line = 1
        try:
            with open(file, encoding=encoding, newline="") as stream:
                reader = csv.reader(_text(stream), delimiter=self.delimiter, strict=True)
                for cells in reader:
                    yield Row(file, line, cells)
                    line = reader.line_num + 1
        except UnicodeDecodeError as error:
            raise DataError(
                f"{file}, after line {line - 1}: not {self.encoding} (byte {error.object[error.start]:#04x}); "
                "name the file's encoding under data.encoding, such as latin-1"
            ) from None
        except csv.Error as error:
            raise DataError(f"{file}, from line {line}: {error}") from None
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}") from None


def _text(lines: Iterable[str]) -> Iterator[str]:
    """The lines as they are; newer Pythons' csv takes a NUL for a character like any other."""
    for line in lines:
        if "\0" in line:
            raise csv.Error("a NUL byte; the file is no text, or has another encoding (data.encoding, such as utf-16)")
        yield line


def matching_files(pattern: str) -> tuple[str, ...]:
    """The files that match a glob pattern, sorted.

    Raises:
        DataError: there are none.
    """
    files = tuple(sorted(glob.glob(pattern)))
    if not files:
        raise DataError(f"{pattern}: no such file")
    return files


def kind_of(cell: str) -> str:
    """The narrowest of `KINDS` that a cell can be read as."""
    for kind in ("int", "float"):
        try:
            _convert(cell, kind)
        except ValueError:
            continue
        return kind
    return "bytes"


def _convert(cell: str, kind: str) -> bytes | int | float:
    if kind == "bytes":
        return cell.encode()
    if "_" in cell:  # Python takes 1_000 for a number; no CSV means one by it
        raise ValueError(cell)
    if kind == "int":
        whole = int(cell)
        if not -(2**63) <= whole < 2**63:
            raise ValueError(cell)
        return whole
    number = float(cell)
    if not math.isfinite(number) or abs(number) > _FLOAT32_MAX:
        raise ValueError(cell)
    return number
