"""Reads the column that rows are ordered by (`data.time`): each text becomes an instant, or the column is refused.

A column has one format for all of its cells: ISO 8601, numbers that sort by time (Unix times, years, months, days), the
format that the config gives, or the only one of `FORMATS` that fits every cell. Instants are numbers that sort by time:
nanoseconds since 1970 in UTC (times without a time zone are taken as UTC), or for a column of numbers the numbers
themselves.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Any, NamedTuple

from benison.components.ingest.csv_table import CsvTable
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError
from benison.serving.number_text import normalize_number

Instant = int | float
NUMBER = "number"  # the format of a column of numbers
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d-%b-%Y",
         "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y%m%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y")  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
# Numbers that may be dates, with their lengths. %Y%m%d is not here, because such integers sort by time. As numbers,
# 10.2013 is after 9.2014, and 2013.10 is before 2013.9.
_NUMBERS = {
    "%d%m%Y": (7, 8), "%m%d%Y": (7, 8), "%d%m%y": (5, 6), "%m%d%y": (5, 6), "%m.%Y": (6, 7), "%Y.%m": (6, 7)
}  # fmt: skip
_MORE_DATES = ("%m.%d.%Y", "%y/%m/%d", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d")
FORMATS = (*(f"{date}{time}" for date in (*DATES, *_MORE_DATES) for time in TIMES), *_NUMBERS)
_COVERED = frozenset({"%Y%m%d", *(f"%Y-%m-%d{time}" for time in TIMES[:3])})  # by numbers and by ISO 8601
_ISO = re.compile(
    r"(\d{4})-(\d{1,2})(?:-(\d{1,2})(?:[Tt ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
    r" ?([Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?)?)?"
)
_YEARS = frozenset("YyGcx")  # strptime's letters that contain the year
_UNITS = ((1e11, "seconds"), (1e14, "milliseconds"), (1e17, "microseconds"), (float("inf"), "nanoseconds"))
_SMALLEST_SECONDS = 1e8  # in 1973; below this, a number may be a day written as DMMYYYY
_CALENDAR = {4: "a year", 6: "a month as YYYYMM", 8: "a day as YYYYMMDD"}  # integers that sort by time, by their length
_CENTURIES = ("18", "19", "20", "21")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_SAMPLE_ROWS = 20_000


class Cell(NamedTuple):
    """A cell of a time column: its file, its position in the file, such as `line 3`, and its text (None: no value)."""

    file: str
    position: str
    text: str | None


@dataclass(frozen=True)
class Format:
    """One way to read a text as a time.

    Attributes:
        name: what messages call it.
        parse: returns the instant of a text, or raises ValueError.
    """

    name: str
    parse: Callable[[str], Instant]

    def show(self, instant: Instant) -> str:
        """Return an instant in words, for a message."""
        if self.name == NUMBER:
            return f"the number {instant}"
        return f"{_EPOCH + timedelta(microseconds=instant // 1000):%Y-%m-%d %H:%M:%S}".removesuffix(" 00:00:00")


@dataclass(frozen=True)
class TimeColumn:
    """The settings of a time column.

    Attributes:
        name: the column.
        format: its format as for strptime, or `number`; None finds it.
        missing: cells that mean "no value".
        decimal: the decimal sign of numbers.
        max_missing: the largest allowed share of rows without a time.
    """

    name: str
    format: str | None = None
    missing: frozenset[str] = frozenset({""})
    decimal: str = "."
    max_missing: float = 0.2

    def to_json(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return {**asdict(self), "missing": sorted(self.missing)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> TimeColumn | None:
        """Create from the result of `to_json`; None if there is no time column."""
        return cls(**{**data, "missing": frozenset(data["missing"])}) if data else None

    @cached_property
    def formats(self) -> tuple[Format, ...]:
        """The formats that the column may have."""
        number = Format(NUMBER, lambda text: _number(text, self.decimal))
        if self.format is not None:
            return (number if self.format == NUMBER else _strptime(self.format),)
        iso = (
            Format("ISO 8601 with a time zone", lambda text: _iso(text, zone=True)),
            Format("ISO 8601 without a time zone", lambda text: _iso(text, zone=False)),
        )
        return (*iso, number, *(_strptime(form, _NUMBERS.get(form)) for form in FORMATS if form not in _COVERED))

    def has_value(self, text: str | None) -> bool:
        """Return whether a cell holds a time."""
        return text is not None and text not in self.missing


@dataclass
class Survey:
    """Facts about the cells of a time column, as far as they were added.

    Attributes:
        column: the column.
        formats: the formats that fit all cells.
        rows: the number of cells.
        missing: the number of cells without a time.
    """

    column: TimeColumn
    formats: tuple[Format, ...] = ()
    rows: int = 0
    missing: int = 0
    _first: Cell | None = None
    _first_missing: Cell | None = None
    _sample: list[str] = field(default_factory=list)
    _differing: dict[tuple[str, str], tuple[Cell, str, str]] = field(
        default_factory=dict
    )  # by the names of two formats
    _units: dict[str, Cell] = field(default_factory=dict)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def __post_init__(self) -> None:
        self.formats = self.column.formats

    def add(self, cell: Cell) -> None:
        """Add the cell of the next row.

        Raises:
            DataError: no format fits this cell and those before.
        """
        self.rows += 1
        if cell.text is None or not self.column.has_value(cell.text):
            self.missing += 1
            self._first_missing = self._first_missing or cell
            return
        instants = [(form, instant) for form in self.formats if (instant := _parsed(form, cell.text)) is not None]
        if not instants:
            raise DataError(self._unreadable(cell))
        self._first = self._first or cell
        self.formats = tuple(form for form, _ in instants)
        for (one, first), (other, second) in combinations(instants, 2):
            if first != second:
                self._differing.setdefault((one.name, other.name), (cell, one.show(first), other.show(second)))
        if instants[0][0].name == NUMBER:
            self._units.setdefault(_unit(instants[0][1]), cell)
        self._keep(cell.text)

    def format(self) -> Format:
        """Return the format of the column.

        Raises:
            DataError: two formats fit every cell but give different times, numbers have different units, or too many
                rows have no time.
        """
        for (one, other), (cell, first, second) in self._differing.items():
            if {one, other} <= {form.name for form in self.formats}:
                raise DataError(
                    f"{self._where(cell)}: {cell.text!r} is {first} as {one} and {second} as {other}, and both fit "
                    "the whole column; set data.time_format to the right one"
                )
        if self.column.format is None and self.formats[0].name == NUMBER:
            self._refuse_unclear_numbers()
        if self.rows and self.missing / self.rows > self.column.max_missing:
            raise DataError(
                f"{self.missing_rows()}, more than validation.max_missing_time allows "
                f"({self.column.max_missing:.0%}); fix the data, or raise the limit"
            )
        if self.rows and self.missing == self.rows:
            raise DataError(f"{self.missing_rows()}; data.time needs a column with times")
        return self.formats[0]

    def _refuse_unclear_numbers(self) -> None:
        """Raise DataError if the numbers are not times of one unit: 20139 may be September 2013, before 201310."""
        if (cell := self._units.get("")) is not None:
            raise DataError(
                f"{self._where(cell)}: got {cell.text!r}; only Unix times, years (2013), months (201301) and days "
                f"(20130131) are numbers that are read as times. If larger numbers are later, set data.time_format to "
                f"{NUMBER}; otherwise set it to the format of the column, such as %m%Y"
            )
        if len(self._units) > 1:
            (unit, cell), (other_unit, other_cell) = list(self._units.items())[:2]
            raise DataError(
                f"{self._where(other_cell)}: got {other_cell.text!r} ({other_unit}) and before it, in "
                f"{cell.file}, {cell.position}, {cell.text!r} ({unit}); expected one unit. Fix the data; if all are "
                f"numbers in one unit, set data.time_format to {NUMBER}"
            )

    def missing_rows(self) -> str:
        """Return the number of rows without a time, in words; empty if there are none."""
        if self._first_missing is None:
            return ""
        cell = self._first_missing
        return (
            f"{self._where(cell)}: {self.missing} of {self.rows} rows ({self.missing / self.rows:.2%}) have no time, "
            f"this one first (got {cell.text or ''!r})"
        )

    def sample(self) -> list[Instant]:
        """Return the instants of a random sample of the cells, of constant size (Vitter 1985), sorted."""
        return sorted(map(self.format().parse, self._sample))

    def _keep(self, text: str) -> None:
        seen = self.rows - self.missing - 1
        if len(self._sample) < _SAMPLE_ROWS:
            self._sample.append(text)
        elif (index := self._random.randrange(seen + 1)) < _SAMPLE_ROWS:
            self._sample[index] = text

    def _where(self, cell: Cell) -> str:
        return f"{cell.file}, {cell.position}, column {self.column.name!r}"

    def _unreadable(self, cell: Cell) -> str:
        text = (cell.text or "")[:80]
        if self.column.format is not None:
            expected = f"a time as data.time_format {self.column.format!r}"
        elif self._first is None:
            expected = "a time in ISO 8601, such as 2013-01-31T17:30:00Z, or a number"
        else:
            names = " or ".join(form.name for form in self.formats[:3])
            expected = f"{names} as in {self._first.file}, {self._first.position} ({(self._first.text or '')[:80]!r})"
        return (
            f"{self._where(cell)}: got {text!r}, expected {expected}; if it means a missing value, add it to "
            "data.missing; otherwise fix the file, or set data.time_format to the format of the whole column"
        )


def cells_of(table: CsvTable, column: str) -> Iterator[Cell]:
    """Yield the cells of a column.

    Raises:
        DataError: the table has no such column.
    """
    index = index_of(table, column)
    return (Cell(row.file, row.place, row.cells[index]) for row in table.rows())


def index_of(table: CsvTable, column: str) -> int:
    """Return the position of the time column.

    Raises:
        DataError: the table has no such column.
    """
    if column not in table.header:
        hint = did_you_mean(column, table.header)
        raise DataError(f"{table.files[0]}: no time column {column!r}{hint}; it has {', '.join(table.header)}")
    return table.header.index(column)


def format_fault(form: str) -> str:
    """Return what is wrong with a value of `data.time_format`; empty if it is right."""
    letters = set(re.findall("%-?(.)", form.replace("%%", "")))
    if form == NUMBER:
        return ""
    if not letters & _YEARS:
        return "has no year (%Y)"
    if "Z" in letters:
        return "has %Z, and Python does not read the names of time zones; use %z, such as +0100"
    try:
        datetime.strptime(datetime(2013, 10, 25, 17, 30, 59, tzinfo=timezone.utc).strftime(form), form)
    except ValueError as error:
        return f"is not a format of strptime: {error}"
    return ""


def _parsed(form: Format, text: str) -> Instant | None:
    try:
        return form.parse(text.strip())
    except ValueError:
        return None


def _strptime(form: str, lengths: Container[int] | None = None) -> Format:
    @lru_cache(maxsize=2**16)  # dates are often repeated, and strptime is slow
    def parse(text: str) -> int:
        if lengths is not None and len(text) not in lengths:
            raise ValueError(text)
        time = datetime.strptime(text, form)
        return _nanoseconds(time if time.tzinfo else time.replace(tzinfo=timezone.utc))

    return Format(form, parse)


def _iso(text: str, *, zone: bool) -> int:
    match = _ISO.fullmatch(text)
    if match is None or zone != bool(match[8]):
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part) if part else 0 for part in match.groups()[:6])
    time = datetime(year, month, day or 1, hour, minute, second, tzinfo=_zone(match[8] or "Z"))
    return _nanoseconds(time) + int((match[7] or "").ljust(9, "0"))


def _zone(text: str) -> timezone:
    if text in ("Z", "z", "UTC"):
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _nanoseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def _number(text: str, decimal: str) -> Instant:
    """Read a number; an integer with a leading zero, such as 01022013, is a date without separators."""
    text = normalize_number(text, decimal)
    if re.fullmatch("0[0-9]+", text):
        raise ValueError(text)
    number = int(text) if re.fullmatch("[-+]?[0-9]+", text) else float(text)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError(text)
    return number


def _unit(number: Instant) -> str:
    """Return what a number is as a time; '' if that is not clear."""
    if abs(number) >= _SMALLEST_SECONDS:
        return f"{next(unit for limit, unit in _UNITS if abs(number) < limit)} since 1970"
    digits = str(int(number)) if number == int(number) else ""  # a year may be written as 2013.0
    return _CALENDAR.get(len(digits), "") if digits.startswith(_CENTURIES) else ""
