"""CSV files as one table: read in order and in batches, with file and line kept for messages."""

from __future__ import annotations

import contextlib
import csv
import glob
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from benison.serving.errors import DataError

WARNINGS = "warnings"  # artifact property: JSON list of what the end of a run shall say
BATCH_ROWS = 8192
KINDS = ("int", "float", "bytes")  # each holds all values of those before it
_ARROW = {
    "int": pa.large_list(pa.int64()),
    "float": pa.large_list(pa.float32()),
    "bytes": pa.large_list(pa.large_binary()),
}
_EXPECTED = {"int": "a whole number", "float": "a finite number"}
_STRAYS = 0.1  # the share of texts up to which a column of text was probably meant to be one of numbers
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
        decimal: what stands before a number's fraction: a point or a comma.
    """

    files: tuple[str, ...]
    missing: frozenset[str] = frozenset({""})
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."

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

    def infer_kinds(self, columns: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """The narrowest of `KINDS` that holds all values of each column; bytes where there is none.

        NaN and infinity count as numbers here, so that a column of numbers with one of them is refused at that cell
        when it is read, and does not become text.

        Returns:
            The kinds, and what to say of columns of text that hold almost only numbers.
        """
        wanted = {name: self.header.index(name) for name in columns}
        seen = {name: _Seen() for name in columns}
        for row in self.rows() if wanted else ():
            for name, index in wanted.items():
                cell = row.cells[index]
                if cell not in self.missing:
                    seen[name].add(row, cell, self.decimal)
        remarks = [remark for name, column in seen.items() if (remark := column.remark(name))]
        return {n: c.kind if c.numbers or c.texts else "bytes" for n, c in seen.items()}, remarks

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
                values.append([_convert(cell, kind, self.decimal)])
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


def kind_of(cell: str, decimal: str = ".") -> str:
    """The narrowest of `KINDS` that a cell can be read as."""
    for kind in ("int", "float"):
        try:
            _convert(cell, kind, decimal)
        except ValueError:
            continue
        return kind
    return "bytes"


def plain(cell: str, decimal: str) -> str:
    """A number as Python writes it.

    Raises:
        ValueError: it has Python's form, but not the file's.
    """
    # Python takes 1_000 for a number, no CSV means one by it; where commas are decimal, 1.234 may be a thousand.
    if "_" in cell or (decimal != "." and "." in cell):
        raise ValueError(cell)
    return cell.replace(decimal, ".")


def _convert(cell: str, kind: str, decimal: str) -> bytes | int | float:
    if kind == "bytes":
        return cell.encode()
    cell = plain(cell, decimal)
    if kind == "int":
        whole = int(cell)
        if not -(2**63) <= whole < 2**63:
            raise ValueError(cell)
        return whole
    number = float(cell)
    if not math.isfinite(number) or abs(number) > _FLOAT32_MAX:
        raise ValueError(cell)
    return number


def _written_kind(cell: str, decimal: str) -> str:
    """The kind that a cell is meant to have: float also where the number is none that can be kept, as NaN or 1e999."""
    kind = kind_of(cell, decimal)
    if kind == "bytes":
        with contextlib.suppress(ValueError):
            float(plain(cell, decimal))
            return "float"
    return kind


@dataclass
class _Seen:
    """What the cells of a column have been so far.

    Attributes:
        kind: the narrowest of `KINDS` that holds all of them.
        numbers: how many.
        texts: how many; neither is counted on once the column is text beyond doubt.
        stray: the first text, with file and line.
    """

    kind: str = "int"
    numbers: int = 0
    texts: int = 0
    stray: str = ""

    def add(self, row: Row, cell: str, decimal: str) -> None:
        if self.texts > 100 + self.numbers:
            return
        kind = _written_kind(cell, decimal)
        self.kind = max(self.kind, kind, key=KINDS.index)
        if kind != "bytes":
            self.numbers += 1
            return
        self.texts += 1
        self.stray = self.stray or f"{Path(row.file).name} line {row.line} {cell[:40]!r}"

    def remark(self, name: str) -> str:
        """Empty where there is nothing to wonder about."""
        cells = self.numbers + self.texts
        if not 0 < self.texts <= _STRAYS * cells:
            return ""
        return (
            f"column {name!r} is taken for text, though {self.numbers} of its {cells} cells are numbers; not so "
            f"{self.stray}: if it means a missing value, add it to data.missing, else mend the file"
        )
