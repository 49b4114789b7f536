"""Guess from a CSV file its dialect, the kinds of its columns, and the problem that its label defines.

The file is read once, in batches; the memory per column does not grow with the rows. Distinct values are counted
exactly up to a thousand. Beyond that, their number is estimated from the smallest hashes: Z. Bar-Yossef et al.,
Counting Distinct Elements in a Data Stream, RANDOM 2002, algorithm 1.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from benison.components.ingest.csv_table import BATCH_ROWS, CsvTable, kind_of
from benison.components.ingest.times import DATES, TIMES
from benison.pipelines.starting import positive
from benison.pipelines.starting.csv_dialect import decimal_of, delimiter_of, encoding_of
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError
from benison.serving.number_text import is_code, normalize_number
from benison.serving.visible_text import visible_line

# Cells that almost always mean "no value", and cells that mean it only among numbers or dates.
SURE_MARKS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "?", "-", "--"})
MARKS_AMONG_NUMBERS = frozenset({".", "none", "nil", "missing", "unknown", "inf", "-inf"})
FEW = 50  # the most distinct values of a category
CLASSES = 20  # the most distinct numbers of a label whose numbers are classes
_KEPT = 1024  # hashes and values kept per column
_SAMPLE = 1000  # distinct values per column that are tested for dates and text
_ID_NAME = re.compile(r"(?:^|[\W_])(?:id|uuid|guid|key|index|idx|row|rowid|serial|nr)$|[a-z]I[dD]$", re.IGNORECASE)
_AMOUNT = re.compile(r"[-+]?[$€£¥]?\s?[-+]?\d[\d.,' ]*\s?[%$€£¥]?")  # such as $1,200.50 and 37 %
_OTHER_NUMBER = re.compile(r"[-+]?(?:\d+[.,]\d+|\d{1,3}(?:[.,]\d{3})+(?:[.,]\d+)?)")


@dataclass(frozen=True)
class GuessedColumn:
    """The guessed kind of a column, and the reason for it.

    Attributes:
        name: the name in the header.
        kind: the kind, as in `benison.pipelines.generic.columns`.
        why: the reason, in words.
        missing: share of rows without a value.
        values: the distinct values, sorted; empty if there are too many (`FEW`, for a label `_KEPT`).
        format: the format of a date; None for ISO 8601.
        size: the size, for kinds that have one.
        whole: all numbers are whole ones.
    """

    name: str
    kind: str
    why: str
    missing: float
    values: tuple[str, ...] = ()
    format: str | None = None
    size: int | None = None
    whole: bool = False


@dataclass(frozen=True)
class Guess:
    """Everything that is guessed from a file.

    Attributes:
        csv: the file.
        encoding: its encoding.
        delimiter: its delimiter.
        missing: cells that mean "no value", the empty one first.
        rows: the number of rows.
        columns: all columns but the label.
        label: the column to predict; its kind is `category` or `number`.
        problem: binary, multiclass or regression.
        remarks: other facts for the user.
        decimal: the decimal sign.
        positive: the positive class of a binary problem; '' otherwise.
        why_positive: why it is the positive one.
    """

    csv: Path
    encoding: str
    delimiter: str
    missing: tuple[str, ...]
    rows: int
    columns: tuple[GuessedColumn, ...]
    label: GuessedColumn
    problem: str
    remarks: tuple[str, ...] = ()
    decimal: str = "."
    positive: str = ""
    why_positive: str = ""


def look(file: Path, label: str, problem: str | None = None) -> Guess:
    """Read a file and guess what it contains.

    Args:
        file: a CSV file with a header.
        label: the column to predict.
        problem: binary, multiclass or regression; None to guess it.

    Raises:
        DataError: the file cannot be read, or it has nothing to learn from.
        UsageError: there is no such column; the message suggests a close name.
    """
    encoding = encoding_of(file)
    delimiter = delimiter_of(file, encoding)
    decimal = decimal_of(file, encoding, delimiter)
    table = CsvTable((str(file),), missing=frozenset(), delimiter=delimiter, encoding=encoding, decimal=decimal)
    if label not in table.header:
        names = ", ".join(map(repr, table.header[:20])) + (", ..." if len(table.header) > 20 else "")
        raise UsageError(
            f"--label {label}: no such column in {file}{did_you_mean(label, table.header)} (it has {names})"
        )
    tallies = {name: Tally(decimal) for name in table.header}
    rows = _read(table, tallies)
    if rows == 0:
        raise DataError(f"{file}: no rows after the header; expected rows to learn from")
    marks = _marks(tallies.values())
    target, problem, remark = _label(file, label, tallies[label], marks, rows, problem)
    columns = tuple(_column(name, tally, marks, rows) for name, tally in tallies.items() if name != label)
    if all(column.kind == "ignore" for column in columns):
        reasons = "; ".join(f"{column.name}: {column.why}" for column in columns) or "the label is the only column"
        raise DataError(f"{file}: no column to learn from ({reasons})")
    missing = ("", *sorted(marks - {""}))
    event, why = ("", "") if problem != "binary" else positive.guess(label, target.values, tallies[label].values)
    return Guess(file, encoding, delimiter, missing, rows, columns, target, problem, remark, decimal, event, why)


@dataclass
class Tally:
    """Counts of a column's cells, collected while the rows are read.

    Attributes:
        decimal: the decimal sign.
        marks: the count of each cell that may mean "no value".
        kinds: the count of each of `csv_table.KINDS`.
        others: the count of each text among numbers, up to a limit.
        values: the count of each value, up to a limit.
        sample: the first distinct values.
        code: the first cell that looks like a number and is a code, such as 02134; '' if there is none.
        counting: whether the cells are integers that increase by one from row to row.
    """

    decimal: str = "."
    marks: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    sample: dict[str, None] = field(default_factory=dict)
    code: str = ""
    counting: bool = True
    _last: int | None = None
    _hashes: list[int] = field(default_factory=list)  # a heap of the smallest ones, negated
    _held: set[int] = field(default_factory=set)

    def add(self, cells: list[str]) -> None:
        """Count the column's cells in a batch of rows."""
        self.counting = self.counting and self._counts_on(cells)
        for cell, count in Counter(cells).items():
            if cell.strip().lower() in SURE_MARKS:
                self.marks[cell] += count
                continue
            kind = kind_of(cell, self.decimal)
            self.kinds[kind] += count
            if is_code(cell):
                self.code = self.code or cell
            if kind == "bytes":
                _keep(self.others, cell, count)
            _keep(self.values, cell, count)
            if len(self.sample) < _SAMPLE:
                self.sample[cell] = None
            self._note(cell)

    def distinct(self, without: Iterable[str] = ()) -> int:
        """Return the number of distinct values: exact up to `_KEPT`, then within a few per cent."""
        if len(self.values) < _KEPT:
            return len(set(self.values) - set(without))
        return max(_KEPT, round((_KEPT - 1) * 2**64 / -self._hashes[0]))

    def _note(self, cell: str) -> None:
        number = int.from_bytes(hashlib.blake2b(cell.encode(), digest_size=8).digest(), "big")
        if number in self._held:
            return
        if len(self._hashes) < _KEPT:
            heapq.heappush(self._hashes, -number)
            self._held.add(number)
        elif number < -self._hashes[0]:
            self._held.discard(-heapq.heapreplace(self._hashes, -number))
            self._held.add(number)

    def _counts_on(self, cells: list[str]) -> bool:
        for cell in cells:
            if not cell.isdecimal() or (self._last is not None and int(cell) != self._last + 1):
                return False
            self._last = int(cell)
        return True


def _keep(counter: Counter[str], cell: str, count: int) -> None:
    if cell in counter or len(counter) < _KEPT:
        counter[cell] += count


def _read(table: CsvTable, tallies: Mapping[str, Tally]) -> int:
    rows, total = (row.cells for row in table.rows()), 0
    while batch := list(islice(rows, BATCH_ROWS)):
        total += len(batch)
        for tally, cells in zip(tallies.values(), zip(*batch, strict=True), strict=True):
            tally.add(list(cells))
    return total


def _marks(tallies: Iterable[Tally]) -> frozenset[str]:
    """Return the cells that mean "no value" in this file, as they are written."""
    marks = {""}
    for tally in tallies:
        marks |= set(tally.marks)
        marks |= {cell for cell in _strays(tally) if cell.strip().lower() in MARKS_AMONG_NUMBERS}
        if _mostly_numbers(tally) and len(_strays(tally)) <= 3:
            marks |= _strays(tally)
    return frozenset(marks)


def _mostly_numbers(tally: Tally) -> bool:
    numbers = tally.kinds["int"] + tally.kinds["float"]
    return numbers >= 10 and numbers >= 9 * tally.kinds["bytes"]


def _strays(tally: Tally) -> set[str]:
    """Return the texts in a column of numbers; empty if it is a column of text."""
    return set(tally.others) if _mostly_numbers(tally) and len(tally.others) < _KEPT else set()


def _label(
    file: Path, name: str, tally: Tally, marks: frozenset[str], rows: int, problem: str | None
) -> tuple[GuessedColumn, str, tuple[str, ...]]:
    values = sorted(set(tally.values) - marks, key=partial(_natural, decimal=tally.decimal))
    distinct, missing = tally.distinct(marks), _missing(tally, marks, rows)
    numeric = bool(values) and _numeric(tally, marks)
    if distinct < 2:
        raise DataError(f"{file}: the label {name!r} has {distinct or 'no'} value; expected at least two")
    if problem is None:
        whole = numeric and all(float(normalize_number(value, tally.decimal)).is_integer() for value in values)
        problem, why = _problem(file, name, values, distinct, numeric and not tally.code, whole, rows)
    else:
        why = "given by --problem"
    if problem == "regression" and not numeric:
        other = next(value for value in values if kind_of(value, tally.decimal) == "bytes")
        raise DataError(f"{file}: the label {name!r} contains {other!r}; a regression needs numbers")
    if problem == "binary" and distinct != 2:
        raise UsageError(f"--problem binary: the label {name!r} has {distinct} values, expected two")
    if problem != "regression" and distinct >= _KEPT:
        raise UsageError(f"--problem {problem}: the label {name!r} has about {distinct} values, too many for classes")
    remarks = () if not missing else (f"rows without a label are left out: {missing:.1%} of the rows",)
    kind = "number" if problem == "regression" else "category"
    return GuessedColumn(name, kind, why, missing, () if kind == "number" else tuple(values)), problem, remarks


def _problem(
    file: Path, name: str, values: list[str], distinct: int, numeric: bool, whole: bool, rows: int
) -> tuple[str, str]:
    shown = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
    if distinct == 2:
        return "binary", f"two values: {shown}"
    if not numeric:
        if distinct > max(FEW, rows // 10) or distinct * 2 > rows:
            raise DataError(
                f"{file}: the label {name!r} has about {distinct} different texts in {rows} rows; expected classes "
                "that appear more than once, or numbers. Is the label an id? (--problem multiclass uses it anyway)"
            )
        return "multiclass", f"{distinct} texts: {shown}"
    if whole and distinct <= CLASSES and distinct * 5 <= rows:
        return "multiclass", f"{distinct} integers: {shown} (if they are amounts, use --problem regression)"
    return "regression", f"{distinct} different numbers, such as {shown}"


def _column(name: str, tally: Tally, marks: frozenset[str], rows: int) -> GuessedColumn:
    missing = _missing(tally, marks, rows)
    present = round(rows * (1 - missing))
    distinct = min(tally.distinct(marks), present)  # an estimate may exceed the number of cells
    values = tuple(sorted(set(tally.values) - marks)) if distinct <= FEW else ()
    if distinct == 0:
        return GuessedColumn(name, "ignore", "empty", missing)
    if distinct == 1 and not missing:
        return GuessedColumn(name, "ignore", f"always {values[0]!r}", missing)
    unique, named = distinct >= 0.95 * present and present >= 20, bool(_ID_NAME.search(name))
    numeric = _numeric(tally, marks) and not tally.code
    if unique and tally.counting and present == rows:
        return GuessedColumn(name, "ignore", "a row number", missing)
    form = _date_format([value for value in tally.sample if value not in marks], numeric or bool(tally.code))
    if form:
        note = ", day first (could be month first)" if _ambiguous(tally.sample, form) else ""
        written = None if form == "ISO 8601" else form
        return GuessedColumn(name, "date", f"{form}{note}", missing, format=written)
    if numeric and named and tally.kinds["float"] == 0:
        if unique:
            return GuessedColumn(name, "ignore", "an id: as many values as rows", missing)
        return _strings(name, f"an id with {distinct} values", distinct, rows, missing, values)
    if numeric:
        whole = tally.kinds["float"] == 0
        return GuessedColumn(name, "number", f"{distinct} different numbers", missing, whole=whole)
    words = [len(value.split()) for value in tally.sample]
    if words and sum(words) >= 4 * len(words) and distinct > min(FEW, 0.5 * present):
        mean = sum(words) / len(words)
        return GuessedColumn(name, "text", f"{mean:.0f} words on average", missing, size=100 if rows < 1000 else 500)
    texts = [value for value in tally.sample if kind_of(value, tally.decimal) == "bytes"]
    is_other = all(_OTHER_NUMBER.fullmatch(value) for value in texts)
    is_amount = distinct > FEW and all(_AMOUNT.fullmatch(value) for value in texts)
    if texts and (is_other or is_amount):
        why = f"numbers such as {texts[0]}, which cannot be read; expected numbers such as 3{tally.decimal}14"
        return GuessedColumn(name, "ignore", why, missing)
    if unique:
        example = visible_line(next(iter(texts or tally.sample)))
        why = "an id: as many values as rows" if named else f"as many values as rows, such as {_short(example)}; an id?"
        return GuessedColumn(name, "ignore", why, missing)
    why = f"{distinct} codes, such as {tally.code}" if tally.code else f"{distinct} different texts"
    return _strings(name, why, distinct, rows, missing, values)


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:27]}..."


def _strings(name: str, why: str, distinct: int, rows: int, missing: float, values: tuple[str, ...]) -> GuessedColumn:
    if distinct <= FEW:
        return GuessedColumn(name, "category", why, missing, values, size=distinct)
    return GuessedColumn(name, "hashed", why, missing, size=64 if rows < 10_000 else 256)


def _numeric(tally: Tally, marks: frozenset[str]) -> bool:
    return tally.kinds["int"] + tally.kinds["float"] > 0 and len(tally.others) < _KEPT and set(tally.others) <= marks


def _missing(tally: Tally, marks: frozenset[str], rows: int) -> float:
    strays = sum(count for cell, count in tally.values.items() if cell in marks)
    return (sum(tally.marks.values()) + strays) / rows


def _date_format(values: list[str], numeric: bool) -> str | None:
    """Return the format in which all values are dates, or 'ISO 8601'; day first if both orders fit."""
    if not values:
        return None
    if numeric and not (all(re.fullmatch(r"(?:19|20)\d{6}", value) for value in values)):
        return None
    if all(_iso(value) for value in values) and not numeric:
        return "ISO 8601"
    return next(_fitting(values), None)


def _fitting(values: Iterable[str]) -> Iterator[str]:
    values = list(values)
    for form in (f"{date}{time}" for date in DATES for time in TIMES):
        if all(_is_date(value, form) for value in values):
            yield form


def _ambiguous(values: Iterable[str], form: str) -> bool:
    swapped = form.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
    return form.startswith("%d") and "%m" in form and all(_is_date(value, swapped) for value in values)


def _iso(value: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}(?:[T ].*)?", value):
        return False
    day, _, time = value.replace(" ", "T", 1).partition("T")
    time = re.sub(r"\s*(?:Z|[+-]\d{2}:?\d{2})$", "", time)
    forms = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")
    return _is_date(day, "%Y-%m-%d") and (not time or any(_is_date(time[:15], form) for form in forms))


def _is_date(value: str, form: str) -> bool:
    try:
        datetime.strptime(value, form)
    except ValueError:
        return False
    return True


def _natural(value: str, decimal: str) -> tuple[int, float, str]:
    """Return a sort key: numbers by value, then texts."""
    return (
        (0, float(normalize_number(value, decimal)), value) if kind_of(value, decimal) != "bytes" else (1, 0.0, value)
    )
