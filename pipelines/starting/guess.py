"""Guess from a file of rows its dialect, the kinds of its columns, and the problem that its label defines.

The rows are read once, in batches; the memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benison.components.ingest.csv_table import CsvTable, kind_of
from benison.pipelines.starting import kinds, positive, reading, remarks
from benison.pipelines.starting.csv_dialect import dialect_of
from benison.pipelines.starting.kinds import FEW, GuessedColumn, missing_share
from benison.pipelines.starting.profile import Profile
from benison.pipelines.starting.reading import Reading
from benison.pipelines.starting.remarks import set_option
from benison.pipelines.starting.row_sample import RowSample
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError
from benison.serving.missing_values import among_texts
from benison.serving.number_text import normalize_number

_ROWS_AT_ONCE = 100_000
CLASSES = 20  # the most distinct numbers of a label whose numbers are classes


@dataclass(frozen=True)
class Fixed:
    """Decisions of the user instead of guesses; None is guessed.

    Attributes:
        problem: binary, multiclass or regression.
        encoding: the file's encoding.
        delimiter: its delimiter.
        decimal: its decimal sign.
        missing: the cells that mean "no value".
        amounts: the form of amounts by column.
        columns: kind, format and size by column.
        weight: the column of the sample weights; None for none.
        by: the column of `splits.by`; None for none.
    """

    problem: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    missing: tuple[str, ...] | None = None
    amounts: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weight: str | None = None
    by: str | None = None


NOTHING = Fixed()


@dataclass(frozen=True)
class Guess:
    """Everything that is guessed from a file.

    Attributes:
        csv: the file.
        form: CSV, JSON lines or Parquet.
        encoding: its encoding.
        delimiter: its delimiter.
        missing: cells that mean "no value", the empty one first.
        rows: the number of rows that were read.
        columns: all columns but the label.
        label: the column to predict; its kind is `category` or `number`.
        problem: binary, multiclass or regression.
        remarks: other facts for the user.
        decimal: the decimal sign.
        positive: the positive class of a binary problem; '' otherwise.
        why_positive: why it is the positive one.
        is_whole: the whole file was read.
        by: the column of `splits.by` that the user gives; '' for none.
    """

    csv: Path
    form: str
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
    is_whole: bool = True
    by: str = ""

    @property
    def amounts(self) -> dict[str, str]:
        """The form of the amounts by column."""
        return {column.name: column.amounts for column in (self.label, *self.columns) if column.amounts}


def look(file: Path, label: str, fixed: Fixed = NOTHING, sample: int | None = None) -> Guess:
    """Read a file and guess what it contains.

    Args:
        file: a CSV file with a header, JSON lines or Parquet.
        label: the column to predict.
        fixed: what the user decides.
        sample: the largest number of rows to read; None for all.

    Raises:
        DataError: the file cannot be read, or it has nothing to learn from.
        UsageError: there is no such column; the message suggests a close name.
    """
    dialect = dialect_of(file, fixed.encoding, fixed.delimiter, fixed.decimal)
    encoding, delimiter, decimal = dialect.encoding, dialect.delimiter, dialect.decimal
    table = CsvTable((str(file),), missing=frozenset(), delimiter=delimiter, encoding=encoding, decimal=decimal)
    names = ", ".join(map(repr, table.header[:20])) + (", ..." if len(table.header) > 20 else "")
    options = [(f"--label {label}", label), *((f"--set columns.{name}", name) for name in fixed.columns)]
    if fixed.weight is not None:
        options.append((f"--weight {fixed.weight}", fixed.weight))
        if fixed.weight == label:
            raise UsageError(f"--weight {label}: this is the label; expected another column")
        if fixed.weight in fixed.columns:
            raise UsageError(f"--set columns.{fixed.weight}: --weight names this column, so it is no feature")
    if fixed.by is not None:
        options.append((f"--set splits.by={fixed.by}", fixed.by))
    for option, name in options:
        if name not in table.header:
            raise UsageError(f"{option}: no such column in {file}{did_you_mean(name, table.header)} (it has {names})")
    for option, name in options:
        if name in table.lists and fixed.columns.get(name, {}).get("kind") != "ignore":
            raise UsageError(f"{option}: the column has lists of values; expected one value per row, or ignore")
    # An empty cell always means "no value", as the YAML that is written says.
    missing = None if fixed.missing is None else tuple(dict.fromkeys(("", *fixed.missing)))
    profiles = {name: Profile(decimal, missing=missing) for name in table.header if name not in table.lists}
    lists = dict.fromkeys((name for name in table.header if name in table.lists), 0)
    rows = RowSample()
    count = 0
    with ThreadPoolExecutor() as threads:  # Arrow and numpy work in parallel
        for chunk in table.chunks(_ROWS_AT_ONCE):
            batch = chunk.batch().slice(0, None if sample is None else sample - count)
            count += len(chunk)
            rows.add(batch)
            list(threads.map(lambda name, batch=batch: profiles[name].add(batch.column(name)), profiles))
            for name in lists:
                lists[name] += sum(map(bool, batch.column(name).to_pylist()))
            if sample is not None and count > sample:
                break
    if count == 0:
        raise DataError(f"{file}: no rows after the header; expected rows to learn from")
    readings = {name: reading.read(profile, fixed.amounts.get(name)) for name, profile in profiles.items()}
    marks = frozenset(missing) if missing is not None else _marks(profiles, readings)
    target, problem, notes = _label(file, label, profiles[label], readings[label], marks, fixed.problem)
    own = {name: marks if found.is_numeric(marks) else among_texts(marks) for name, found in readings.items()}
    own |= {name: among_texts(marks) for name, given in fixed.columns.items() if given["kind"] != "number"}
    columns = tuple(
        kinds.of_lists(name, lists[name] / count)
        if name in lists
        else kinds.sample_weights(name, profiles[name], readings[name], own[name])
        if name == fixed.weight
        else kinds.fixed(name, profiles[name], readings[name], own[name], fixed.columns[name])
        if name in fixed.columns
        else kinds.group(kinds.guess(name, profiles[name], readings[name], own[name]))
        if name == fixed.by
        else kinds.guess(name, profiles[name], readings[name], own[name])
        for name in table.header
        if name != label
    )
    forms = {name: found.form for name, found in readings.items()}
    leaks = remarks.leaks(columns, target, forms, rows.columns(), marks)
    notes += tuple(_remarks((target, *columns), profiles, readings, own, marks, given=fixed.missing is not None))
    notes += tuple(remarks.infinite(table, {c.name: readings[c.name].infinite for c in columns if c.kind == "number"}))
    notes += tuple(_leak_remarks(columns, leaks, fixed.columns))
    columns = tuple(
        kinds.leak(column, leaks[column.name]) if column.name in leaks and column.name not in fixed.columns else column
        for column in kinds.with_values(columns, fixed.columns)
    )
    if all(column.kind == "ignore" for column in columns):
        reasons = "; ".join(f"{column.name}: {column.why}" for column in columns) or "the label is the only column"
        use = f"; --set columns.{next(iter(leaks))}=KIND uses one all the same" if leaks else ""
        raise DataError(f"{file}: no column to learn from ({reasons}){use}")
    event, why = ("", "") if problem != "binary" else positive.guess(label, target.values, profiles[label].values)
    return Guess(
        csv=file,
        form=dialect.form,
        encoding=encoding,
        delimiter=delimiter,
        missing=("", *sorted(marks - {""})),
        rows=min(count, sample or count),
        columns=columns,
        label=target,
        problem=problem,
        remarks=notes,
        decimal=decimal,
        positive=event,
        why_positive=why,
        is_whole=sample is None or count <= sample,
        by=fixed.by or "",
    )


def _marks(profiles: Mapping[str, Profile], readings: Mapping[str, Reading]) -> frozenset[str]:
    """Return the cells that mean "no value" in this file, as they are written."""
    marks = {""}
    for profile in profiles.values():
        marks |= set(profile.marks)
    for name, profile in profiles.items():
        if readings[name].is_mostly_numbers:
            marks |= readings[name].marks()
        else:
            marks |= reading.date_marks(profile, frozenset(marks))
    return frozenset(marks)


def _remarks(
    columns: Iterable[GuessedColumn],
    profiles: Mapping[str, Profile],
    readings: Mapping[str, Reading],
    marks: Mapping[str, frozenset[str]],
    everywhere: frozenset[str],
    *,
    given: bool,
) -> Iterator[str]:
    for column in columns:
        if column.name not in profiles:
            continue
        name, profile = column.name, profiles[column.name]
        if column.kind == "number":
            yield from remarks.sentinels(name, profile)
            yield from remarks.signs(name, profile, column)
            if note := remarks.lost_digits(name, profile, column, readings[name].form):
                yield note
        elif note := remarks.strays(name, readings[name], marks[name], everywhere):
            yield note
        yield from remarks.spellings(name, profile, column, marks[name])
        if not given:
            yield from remarks.lost_values(name, profile, column, marks[name])


def _leak_remarks(columns: Iterable[GuessedColumn], leaks: Mapping[str, str], given: Collection[str]) -> Iterator[str]:
    """Yield a remark about each column that alone predicts the label, and how to decide otherwise.

    Args:
        columns: the columns, with the kinds that they have if they are no leaks.
        leaks: the measure of each leak.
        given: the columns whose kind the user gives.
    """
    for column in columns:
        if column.name not in leaks:
            continue
        name = column.name
        fact = f"alone it predicts the label ({leaks[name]}): a copy of it, or known only after it?"
        accept = set_option(f"validation.columns.{name}", "warn")
        if name in given:
            yield f"{name}: {fact} The run stops there, unless it is left out or accepted with {accept}"
        else:
            yield (
                f"{name}: {fact} It is left out. If it is known before the label, it is the best feature: use it with "
                f"{set_option(f'columns.{name}', column.kind)} {accept}"
            )


def _label(
    file: Path,
    name: str,
    profile: Profile,
    numbers: Reading,
    marks: frozenset[str],
    problem: str | None,
) -> tuple[GuessedColumn, str, tuple[str, ...]]:
    values = sorted(set(profile.values) - marks, key=partial(_natural, form=numbers.form))
    distinct, missing = profile.distinct(marks), missing_share(profile, numbers, marks)
    numeric = bool(values) and numbers.is_numeric(marks)
    if distinct < 2:
        taken = sorted({*profile.marks, *(set(profile.values) & marks)} - {""})
        shown = ", ".join(map(repr, taken))
        use = f"; {shown} counts as no value: if it is a class, use --set 'data.missing=[\"\"]'" if taken else ""
        raise DataError(f"{file}: the label {name!r} has {distinct or 'no'} value; expected at least two{use}")
    if problem is None:
        whole = numeric and all(float(normalize_number(value, numbers.form)).is_integer() for value in values)
        counted = kinds.counted(distinct, profile.is_exact)
        problem, why = _problem(
            file, name, values, distinct, counted, numeric and not profile.code, whole, profile.rows
        )
    else:
        why = "given by --problem"
    if problem == "regression" and not numeric:
        other = next(value for value in (*numbers.strays, *values) if kind_of(value, numbers.form) == "bytes")
        raise DataError(f"{file}: the label {name!r} contains {other!r}; a regression needs numbers")
    if problem == "binary" and distinct != 2:
        raise UsageError(f"--problem binary: the label {name!r} has {distinct} values, expected two")
    if problem != "regression" and not profile.is_exact:
        raise UsageError(f"--problem {problem}: the label {name!r} has about {distinct} values, too many for classes")
    notes = () if not missing else (f"rows without a label are left out: {missing:.1%} of the rows",)
    if problem == "regression":
        amounts = numbers.form if numbers.example else None
        return GuessedColumn(name, "number", why, missing, amounts=amounts), problem, notes
    return GuessedColumn(name, "category", why, missing, tuple(values)), problem, notes


def _problem(
    file: Path, name: str, values: list[str], distinct: int, counted: str, numeric: bool, whole: bool, rows: int
) -> tuple[str, str]:
    shown = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")
    if distinct == 2:
        return "binary", f"two values: {shown}"
    if not numeric:
        if distinct > max(FEW, rows // 10) or distinct * 2 > rows:
            raise DataError(
                f"{file}: the label {name!r} has {counted} different texts in {rows} rows; expected classes "
                "that appear more than once, or numbers. Is the label an id? (--problem multiclass uses it anyway)"
            )
        return "multiclass", f"{distinct} texts: {shown}"
    if whole and distinct <= CLASSES and distinct * 5 <= rows:
        return "multiclass", f"{distinct} integers: {shown} (if they are amounts, use --problem regression)"
    return "regression", f"{counted} different numbers, such as {shown}"


def _natural(value: str, form: str) -> tuple[int, float, str]:
    """Return a sort key: numbers by value, then texts."""
    return (0, float(normalize_number(value, form)), value) if kind_of(value, form) != "bytes" else (1, 0.0, value)
