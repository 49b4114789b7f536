"""Find values in the rows of a prediction that a model cannot know: it answers, but not about these values.

A category is unseen if its text differs in any way from the texts of training: pandas writes 1.0 instead of 1 in a
column with a missing cell, Excel makes 123 of 00123. So it is with a date in another form.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benison.serving import vocabulary_lines
from benison.serving.errors import BenisonError
from benison.serving.number_text import finite_number
from benison.serving.versions import input_columns
from benison.serving.versions.input_columns import InputColumn
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import DateForm

_SHOWN = 3  # values of a column in a message
_ASSETS = "assets"  # TensorFlow's folder of vocabularies in a SavedModel
_TRUTHS = {"true": "1", "yes": "1", "t": "1", "y": "1", "false": "0", "no": "0", "f": "0", "n": "0"}


def find(version: Version, values: Mapping[str, Sequence[Any]], missing: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line about each column that has values which the model does not know.

    Args:
        version: The version.
        values: The values of each input by row; a list of values if the column has several per row.
        missing: The value for a missing cell by input.
    """
    try:
        columns = input_columns.read(version.path)
    except BenisonError:  # only the model is needed for an answer
        return
    vocabularies = _vocabularies(version)
    for name, cells in values.items():
        column = columns.get(name) or InputColumn(name)
        known = vocabularies.get(column.name) or column.choices
        rows = [[value for value in _as_list(cell) if not _is_missing(value, missing.get(name))] for cell in cells]
        if form := version.manifest.dates.get(column.name):
            yield from _foreign_dates(column.name, rows, form)
        elif known:
            yield from _unseen(column.name, rows, known)
        elif column.low is not None or column.high is not None:
            yield from _beyond_limits(column, rows)


def _vocabularies(version: Version) -> dict[str, list[str]]:
    """Return the values that the model has ids of, by column, from the largest vocabulary that has the column."""
    known: dict[str, list[str]] = {}
    for vocabulary, columns in version.manifest.vocabularies.items():
        file = Path(version.path, _ASSETS, f"{vocabulary}{vocabulary_lines.SUFFIX}")
        if not file.is_file():  # no member that uses it is in the ensemble
            continue
        values = vocabulary_lines.values_by_column(file)
        for number, column in enumerate(columns):
            known[column] = max(known.get(column, []), values.get(number, []), key=len)
    return known


def _unseen(column: str, rows: Sequence[Sequence[Any]], known: Iterable[str]) -> Iterator[str]:
    texts = frozenset(known)
    by_form = {_form(text): text for text in sorted(texts, reverse=True)}

    def shown(value: str) -> str:
        near = by_form.get(_form(value))
        return repr(value) + (f" (it knows {near!r})" if near is not None else "")

    yield from _line(
        column, rows, lambda value: str(value) in texts, shown, "have values that the model has never seen: {}"
    )


def _foreign_dates(column: str, rows: Sequence[Sequence[Any]], form: DateForm) -> Iterator[str]:
    pattern = re.compile(form.pattern, re.ASCII)

    def is_date(value: str) -> bool:
        match = pattern.fullmatch(value)
        return match is not None and _is_day(dict(zip(form.letters, match.groups(), strict=True)))

    fault = f"are no dates of the form that the model reads ({form.format}), and count as missing: {{}}"
    yield from _line(column, rows, is_date, repr, fault)


def _is_day(parts: Mapping[str, str | None]) -> bool:
    """Return True if the calendar has a day; a part that the form has not, or the name of a month, is not looked at."""
    try:
        datetime.date(int(parts.get("Y") or 2000), int(parts.get("m") or 1), int(parts.get("d") or 1))
    except ValueError:
        return False
    return int(parts.get("H") or 0) < 24 and int(parts.get("M") or 0) < 60


def _beyond_limits(column: InputColumn, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    low = column.low if column.low is not None else float("-inf")
    high = column.high if column.high is not None else float("inf")
    fault = f"are beyond the limits of the schema ({low:g} to {high:g}), so training had none such: {{}}"
    yield from _line(column.name, rows, lambda value: low <= value <= high, "{:g}".format, fault)


def _line(
    column: str,
    rows: Sequence[Sequence[Any]],
    is_known: Callable[[Any], bool],
    shown: Callable[[Any], str],
    fault: str,
) -> Iterator[str]:
    """Yield a line if a row has a value that is not known; the first such values are shown."""
    strange = [[value for value in row if not is_known(value)] for row in rows]
    if count := sum(map(bool, strange)):
        values = [*dict.fromkeys(value for row in strange for value in row)]
        examples = ", ".join([*map(shown, values[:_SHOWN]), *(["..."] if len(values) > _SHOWN else [])])
        yield f"column {column!r}: {count} of {len(rows)} rows {fault.format(examples)}"


def _form(value: str) -> str:
    """Return what is left of a text without its form: case, spaces, leading zeros, decimals, words of truth."""
    text = " ".join(value.casefold().split())
    try:
        return f"{finite_number(text):.15g}"
    except ValueError:
        return _TRUTHS.get(text, text)


def _as_list(cell: Any) -> Sequence[Any]:
    return cell if isinstance(cell, (list, tuple)) else [cell]


def _is_missing(value: Any, missing: Any) -> bool:
    return bool(value != value or value == missing or value == "")  # NaN differs from itself
