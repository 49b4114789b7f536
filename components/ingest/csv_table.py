"""Files as one table, read in order and in batches; each row knows its file and line, for messages."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benison.serving.errors import DataError
from benison.serving.missing_values import MISSING_INTEGER, among_texts
from benison.serving.number_text import AMOUNTS, finite_number, is_code, normalize_number, whole_number
from benison.serving.rows import number_columns, tables
from benison.serving.rows.chunks import Chunk, Row

WARNINGS = "warnings"  # artifact property: JSON list of warnings that are printed at the end of a run
KINDS_OF_COLUMNS = "kinds"  # artifact property: JSON object, the kind of each column, if no schema defines it
BATCH_ROWS = 8192
DELIMITERS = (",", ";", "\t", "|")
KINDS = ("int", "float", "bytes")  # each can represent all values of the kinds before it
_ARROW = {"int": pa.int64(), "float": pa.float32(), "bytes": pa.large_binary()}
_EXPECTED = {
    "int": f"a whole number other than {MISSING_INTEGER}, which stands for a missing one",
    "float": "a finite number",
}
_STRAY_SHARE = 0.1  # a column with at most this share of texts was probably meant to be numeric


@dataclass(frozen=True)
class CsvTable:
    """Files with the same columns, read as one table: CSV, JSON lines or Parquet, see `serving.rows.tables`.

    Attributes:
        files: paths, read in this order.
        missing: cells that mean "no value".
        delimiter: separates the cells of a CSV.
        encoding: encoding of a CSV; a UTF-8 byte order mark is skipped.
        decimal: decimal separator of numbers: a point or a comma.
        amounts: the form of the numbers in columns of amounts, see `number_text.AMOUNTS`.
    """

    files: tuple[str, ...]
    missing: frozenset[str] = frozenset({""})
    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    amounts: Mapping[str, str] = field(default_factory=dict)

    def number_form(self, column: str) -> str:
        """Return how a column writes numbers: the decimal sign, or the form of its amounts."""
        return "." if column in self._numbers else self.amounts.get(column, self.decimal)

    @cached_property
    def _numbers(self) -> frozenset[str]:
        """The columns that have numbers by the files themselves, which no decimal sign of a CSV is about."""
        if self.decimal == "." and not self.amounts:
            return frozenset()
        return frozenset.intersection(*map(tables.numbers, self.files))

    @cached_property
    def header(self) -> list[str]:
        """Names of the columns.

        Raises:
            DataError: a file is empty, its header differs from that of the first file, or a name is empty or appears
                more than once.
        """
        first: list[str] = []
        for file in self.files:
            names = tables.header(file, self.delimiter, self.encoding)
            same = names == first or (tables.form_of(file) != tables.CSV and sorted(names) == sorted(first))
            if first and not same:
                raise DataError(f"{file}: header differs from that of {self.files[0]}; expected the same columns")
            first = first or names
        tables.check_header(self.files[0], first)
        return first

    @cached_property
    def lists(self) -> frozenset[str]:
        """The columns that have any number of values per row."""
        files = [file for file in self.files if tables.form_of(file) != tables.CSV]
        first = (next(tables.chunks(file, self.header), None) for file in files)
        return frozenset(
            name for chunk in first if chunk is not None for at, name in enumerate(self.header) if chunk.is_list(at)
        )

    def chunks(self, most: int = BATCH_ROWS) -> Iterator[Chunk]:
        """Yield the records of all files in order, without blank lines.

        Args:
            most: the largest number of records of a chunk.

        Raises:
            DataError: a record has more or fewer cells than the header, or a file cannot be parsed.
        """
        columns = self.header  # it compares those of the files
        for file in self.files:
            for chunk in tables.chunks(file, columns, self.delimiter, self.encoding):
                for start in range(0, len(chunk), most):
                    yield chunk.part(start, most)

    def rows(self) -> Iterator[Row]:
        """Yield the records of all files in order; see `chunks`."""
        for chunk in self.chunks():
            yield from chunk.rows()

    def infer_kinds(self, columns: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """Return the kinds by the files themselves, else the narrowest of `KINDS` for all values of each column.

        A column without any value is bytes.

        NaN and infinity count as numbers here. Otherwise one of them would turn a numeric column into text; so the
        column stays numeric, and reading it fails at that cell.

        Returns:
            The kinds by column, and a warning for each text column that contains almost only numbers.
        """
        typed = self._kinds()
        indices = {name: self.header.index(name) for name in columns if name not in typed}
        types = {name: _ColumnTypes() for name in indices}
        for chunk in self.chunks() if indices else ():
            rows = chunk.rows()
            for name, index in indices.items():
                form = self.number_form(name)
                for row, cells in zip(rows, _cells(chunk, rows, index), strict=True):
                    for cell in cells:
                        if cell not in self.missing:
                            types[name].add(row, cell, form)
        warnings = [warning for name, column in types.items() if (warning := column.warning(name))]
        inferred = {n: c.kind if c.numbers or c.texts else "bytes" for n, c in types.items()}
        return {name: typed.get(name) or inferred[name] for name in columns}, warnings

    def _kinds(self) -> dict[str, str]:
        """Return the kinds of the columns for which every file has one."""
        by_file = [tables.kinds(file) for file in self.files]
        names = set.intersection(*map(set, by_file))
        return {name: max((kinds[name] for kinds in by_file), key=KINDS.index) for name in names}

    def batches(self, kinds: Mapping[str, str]) -> Iterator[tuple[list[Row], pa.RecordBatch]]:
        """Yield up to BATCH_ROWS rows at a time, also as an Arrow batch with one list column per CSV column.

        Args:
            kinds: the kind of each column. Missing values become null.

        Raises:
            DataError: a cell does not have the type of its column; names file, line and column.
        """
        for chunk in self.chunks():
            rows, texts = chunk.rows(), chunk.batch()
            arrays = [self._column(rows, i, name, kinds[name], texts.column(i)) for i, name in enumerate(self.header)]
            yield rows, pa.RecordBatch.from_arrays(arrays, names=self.header)

    def _column(self, rows: Sequence[Row], index: int, name: str, kind: str, texts: Any) -> pa.Array:
        """Return a column of texts, or of lists of texts, as an Arrow array of lists, null where it is missing."""
        if pa.types.is_list(texts.type):
            present, lengths = texts.flatten(), pc.list_value_length(texts).to_numpy()
        else:
            marks = among_texts(self.missing) if kind == "bytes" else self.missing
            known = pc.invert(pc.is_in(texts, value_set=pa.array(sorted(marks), pa.string())))
            present, lengths = texts.filter(known), known.to_numpy(zero_copy_only=False)
        form = self.number_form(name)
        values = _converted(present, kind, form)
        if values is None:
            cells = present.to_numpy(zero_copy_only=False).tolist()
            positions = np.repeat(np.arange(len(texts)), lengths).tolist()
            values = pa.array(
                [self._value(rows[at], name, cell, kind, form) for at, cell in zip(positions, cells, strict=True)],
                type=_ARROW[kind],
            )
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        absent = np.append(lengths == 0, False)
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64(), mask=absent), values)

    def _value(self, row: Row, name: str, cell: str, kind: str, form: str) -> bytes | int | float:
        try:
            return _known_integer(_convert(cell, kind, form, zeros=True))
        except ValueError:
            raise DataError(
                f"{row.file}, {row.place}, column {name!r}: got {cell[:80]!r}, expected {_EXPECTED[kind]}; "
                "if it means a missing value, add it to data.missing; otherwise fix the file or the schema"
            ) from None


def _cells(chunk: Chunk, rows: Sequence[Row], index: int) -> Iterator[Sequence[str]]:
    """Yield the cells of a column by row: one, or those of its list."""
    if chunk.is_list(index):
        yield from chunk.batch().column(index).to_pylist()
    else:
        yield from ((row.cells[index],) for row in rows)


def other_delimiter(table: CsvTable, missing: Collection[str]) -> str:
    """Return the fault that the first file has another delimiter; '' unless it then has a column that is missing."""
    if tables.form_of(table.files[0]) != tables.CSV:
        return ""
    for delimiter in DELIMITERS:
        other = replace(table, files=table.files[:1], delimiter=delimiter)
        with contextlib.suppress(DataError):
            if delimiter != table.delimiter and not set(missing).isdisjoint(other.header):
                return (
                    f"{table.files[0]}: the columns are separated by {delimiter!r}, but data.delimiter is "
                    f"{table.delimiter!r}"
                )
    return ""


def kind_of(cell: str, form: str = ".") -> str:
    """Return the narrowest of `KINDS` that a cell can be read as."""
    for kind in ("int", "float"):
        try:
            _convert(cell, kind, form)
        except ValueError:
            continue
        return kind
    return "bytes"


def _known_integer(value: bytes | int | float) -> bytes | int | float:
    """Return the value unchanged.

    Raises:
        ValueError: It is the integer that stands for a missing one in requests.
    """
    if isinstance(value, int) and value == MISSING_INTEGER:
        raise ValueError(value)
    return value


def fits(cell: str, kind: str, form: str = ".") -> bool:
    """Return whether a cell can be read as a kind that its column was given."""
    try:
        _convert(cell, kind, form, zeros=True)
    except ValueError:
        return False
    return True


def _convert(cell: str, kind: str, form: str, zeros: bool = False) -> bytes | int | float:
    if kind == "bytes":
        return cell.encode()
    return whole_number(cell, form, zeros=zeros) if kind == "int" else finite_number(cell, form)


def _converted(texts: Any, kind: str, form: str) -> Any:
    """Return texts as an Arrow array of a kind; None if they have to be converted one by one, or one is refused."""
    if kind == "bytes":
        return texts.cast(pa.binary()).cast(_ARROW[kind])
    if form in AMOUNTS:
        return None
    if kind == "int":
        return number_columns.integers(texts) if form == "." else None
    values = number_columns.floats(texts, form)
    return None if np.isnan(values).any() else pa.array(values.astype(np.float32))


def _intended_kind(cell: str, form: str) -> str:
    """Return the kind that a cell was meant to have: float also for numbers that are refused, such as NaN or 1e999."""
    kind = kind_of(cell, form)
    if kind == "bytes":
        with contextlib.suppress(ValueError):
            float(normalize_number(cell, form))
            return "float"
    return kind


@dataclass
class _ColumnTypes:
    """Types of the cells of a column, as far as they were read.

    Attributes:
        kind: the narrowest of `KINDS` for all cells.
        numbers: number of numeric cells; counting stops once the column is certainly text.
        texts: number of other cells, likewise.
        first_text: the first of the other cells, with file and line.
        codes: number of cells that look like numbers and are codes, such as 02134; the column is then text.
    """

    kind: str = "int"
    numbers: int = 0
    texts: int = 0
    first_text: str = ""
    codes: int = 0

    def add(self, row: Row, cell: str, form: str) -> None:
        if self.texts > 100 + self.numbers:
            return
        code = is_code(cell)
        self.codes += code
        kind = "bytes" if code else _intended_kind(cell, form)
        self.kind = max(self.kind, kind, key=KINDS.index)
        if kind != "bytes":
            self.numbers += 1
            return
        self.texts += 1
        self.first_text = self.first_text or f"{Path(row.file).name} {row.place} {cell[:40]!r}"

    def warning(self, name: str) -> str:
        """Return a warning if the column contains almost only numbers, else an empty text."""
        cells = self.numbers + self.texts
        if self.codes or not 0 < self.texts <= _STRAY_SHARE * cells:
            return ""
        return (
            f"column {name!r} is read as text, although {self.numbers} of its {cells} cells are numbers; the first "
            f"other cell is {self.first_text}: if it means a missing value, add it to data.missing; otherwise fix the "
            "file"
        )
