"""Find what may be wrong in a column: numbers that stand for "no value", spellings of one value, leaks."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benison.components.ingest.csv_table import CsvTable, kind_of
from benison.components.validate.leaks import LEAK_THRESHOLD, predictive_power
from benison.pipelines.starting.kinds import FEW, GuessedColumn
from benison.pipelines.starting.profile import KEPT, Profile
from benison.pipelines.starting.reading import MARKS_AMONG_NUMBERS, Reading
from benison.serving.number_text import FLOAT32_MAX, finite_number, is_too_large, normalize_number

_FEWEST_ROWS = 40  # rows with a label from which a leak is looked for
_FEWEST_SENTINELS = 3
_FEW_MARKS, _NUMBERS = 5, 20  # so few different texts, and so many numbers for each, are marks among numbers
_KEPT_SHARE = 0.9  # the share of different numbers that a model has to see as different ones


def sentinels(name: str, profile: Profile) -> Iterator[str]:
    """Yield a remark about a number that is repeated and far away from all other numbers, such as -999."""
    width = profile.high - profile.low
    for number, count in sorted(profile.sentinels.items()):
        distance = max(profile.low - number, number - profile.high)
        if count >= _FEWEST_SENTINELS and np.isfinite(width) and distance > max(width, 1.0):
            yield (
                f"{name}: {count} cells are {number}, far from the others ({profile.low:g} to {profile.high:g}): if it "
                f"means 'no value', add it to data.missing"
            )


def spellings(name: str, profile: Profile, column: GuessedColumn, marks: frozenset[str]) -> Iterator[str]:
    """Yield a remark about values that differ only in case or in spaces around them."""
    if column.kind not in ("category", "hashed") or len(profile.values) >= KEPT:
        return
    same: dict[str, list[str]] = {}
    for value in profile.values:
        if value not in marks:
            same.setdefault(" ".join(value.casefold().split()), []).append(value)
    several = [values for values in same.values() if len(values) > 1]
    if several:
        more = f", and {len(several) - 1} more such groups" if len(several) > 1 else ""
        shown = ", ".join(map(repr, several[0][:4]))
        yield f"{name}: {shown} look like one value, but count as {len(several[0])}{more}: write them alike in the data"


def lost_values(name: str, profile: Profile, column: GuessedColumn, marks: frozenset[str]) -> Iterator[str]:
    """Yield a remark about a value of a category that counts as "no value", because it does so among numbers."""
    if column.kind not in ("category", "hashed"):
        return
    for cell, count in profile.values.items():
        if cell in marks and cell.strip().lower() in MARKS_AMONG_NUMBERS:
            yield (
                f"{name}: {count} cells are {cell!r}, which counts as 'no value' in every column, as it is among the "
                "numbers or dates of another: if it is a value here, write another word in one of them"
            )


def signs(name: str, profile: Profile, column: GuessedColumn) -> Iterator[str]:
    """Yield a remark if amounts have different signs: each counts as the number that is written."""
    if column.amounts is None:
        return
    found = {
        "%" if "%" in cell else _currency(cell) for cell in profile.others if kind_of(cell, column.amounts) != "bytes"
    }
    if "%" in found and (len(found) > 1 or profile.numbers):
        yield f"{name}: some cells have a percent sign and others none; 36% is read as 36 and 0.36 as 0.36"
    elif len(currencies := found - {"%", ""}) > 1:
        yield f"{name}: amounts in {' and '.join(sorted(currencies))} are read as numbers of one unit"


def set_option(key: str, value: str) -> str:
    """Return the option `--set` as it is typed in a shell."""
    return f"--set {shlex.quote(f'{key}={value}')}"


def strays(name: str, reading: Reading, marks: frozenset[str], everywhere: frozenset[str]) -> str:
    """Return a remark about the cells that are no numbers in a column of numbers; '' if there is none.

    Args:
        name: the column.
        reading: how it writes numbers.
        marks: the cells that mean "no value" in it.
        everywhere: the cells that mean "no value" in the file.
    """
    others = {cell: count for cell, count in reading.strays.items() if cell not in marks}
    among_many = reading.is_mostly_numbers and len(others) <= FEW
    if not others or not (among_many or (len(others) <= _FEW_MARKS and reading.numbers >= _NUMBERS * len(others))):
        return ""
    shown = ", ".join(f"{cell!r} ({count})" for cell, count in list(others.items())[:5])
    more = ", ..." if len(others) > 5 else ""
    if all(map(is_too_large, others)):
        return (
            f"{name}: {reading.numbers} cells are numbers, others are too large for one, above {FLOAT32_MAX:.1e}: "
            f"{shown}{more}: write the column in another unit, or its logarithm, and it is a number"
        )
    missing = [*sorted(everywhere), *(cell for cell in others if cell not in everywhere)]
    option = set_option("data.missing", json.dumps(missing, ensure_ascii=False))
    return (
        f"{name}: {reading.numbers} cells are numbers, others are {shown}{more}: if they mean 'no value', add them to "
        f"data.missing ({option} at init) and the column is a number"
    )


def lost_digits(name: str, profile: Profile, column: GuessedColumn, form: str) -> str:
    """Return a remark if numbers differ only in digits that a model does not see; '' if there is none.

    Numbers are float32 in a model: 7 digits. A column of whole numbers (INT) is exact for trees, and for networks up to
    2^53.
    """
    numbers = {normalize_number(cell, form): None for cell in profile.sample if kind_of(cell, form) != "bytes"}
    exact = {Decimal(number) for number in numbers}
    seen = {float(number) if column.whole else float(np.float32(number)) for number in numbers}
    if len(seen) >= _KEPT_SHARE * len(exact):
        return ""
    fact = f"{name}: {len(exact)} different numbers, such as {next(iter(numbers))}, are {len(seen)} for "
    if column.whole:
        return f"{fact}networks, which see 15 digits of a number (trees see all): subtract the smallest one in the data"
    if all(number == int(number) and abs(number) < 2**63 for number in exact):
        return (
            f"{fact}a model, which sees 7 digits of a number that is not of type INT: write the whole numbers without "
            "'.0' in the data, then the column is INT"
        )
    return f"{fact}a model, which sees 7 digits of a number: subtract the smallest one in the data"


def infinite(table: CsvTable, columns: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield a remark about the infinite numbers of each column: they count as "no value".

    Args:
        table: the file.
        columns: the count of each such cell by column.
    """
    indices = {name: table.header.index(name) for name, cells in columns.items() if cells}
    first: dict[str, str] = {}
    for chunk in table.chunks() if indices else ():
        batch = chunk.batch()
        for name in indices.keys() - first.keys():
            found = pc.is_in(batch.column(indices[name]), value_set=pa.array([*columns[name]], pa.string()))
            position = pc.index(found, True).as_py()
            if position >= 0:
                first[name] = chunk.part(position, 1).rows()[0].place
        if len(first) == len(indices):
            break
    for name in indices:
        cells = ", ".join(map(repr, list(columns[name])[:3]))
        yield (
            f"{name}: {sum(columns[name].values())} cells are infinite ({cells}; the first in {first[name]}), and no "
            "model can learn from them: they count as 'no value' (data.missing)"
        )


def leaks(
    columns: Sequence[GuessedColumn],
    label: GuessedColumn,
    forms: Mapping[str, str],
    sample: Mapping[str, Sequence[str]],
    marks: frozenset[str],
) -> dict[str, str]:
    """Return the columns that alone predict the label, each with the measure that says so, such as `AUC 0.998`.

    Args:
        columns: the columns.
        label: the label.
        forms: how each column writes numbers.
        sample: the cells of some rows by column.
        marks: the cells that mean "no value".
    """
    regression = label.kind == "number"
    known = np.array([cell not in marks for cell in sample[label.name]], bool)
    if known.sum() < _FEWEST_ROWS:
        return {}
    target = _values(sample[label.name], regression, forms[label.name], marks)[known]
    found = {}
    for column in columns:
        if column.kind == "ignore":
            continue
        values = _values(sample[column.name], column.kind == "number", forms[column.name], marks)[known]
        power = predictive_power(values, target, regression)
        if power >= LEAK_THRESHOLD:
            found[column.name] = f"{'R²' if regression else 'AUC'} {power:.3f}"
    return found


def _values(cells: Sequence[str], numeric: bool, form: str, marks: frozenset[str]) -> np.ndarray:
    if not numeric:
        return np.array(["" if cell in marks else cell for cell in cells])
    return np.array([np.nan if cell in marks else _number(cell, form) for cell in cells])


def _number(cell: str, form: str) -> float:
    try:
        return finite_number(cell, form)
    except ValueError:
        return float("nan")


def _currency(cell: str) -> str:
    return re.sub(r"[^\w$€£¥₹₽₩₺₪₫₴₦₱฿¢]|\d", "", cell)
