"""Find the format of a column of dates, among which a few cells may be none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType

from benison.components.ingest.times import DATES, TIMES
from benison.pipelines.generic.date_forms import date_pattern

ISO = "ISO 8601"
_ENOUGH = 0.9  # the share of a column's values that are dates if it is a column of dates
_FIRST = 20  # values that a format is tried with first


@dataclass(frozen=True)
class Dates:
    """The way in which a column writes dates.

    Attributes:
        format: as for strptime, or `ISO`.
        ambiguous: day and month may be exchanged.
        others: values that are no dates.
    """

    format: str
    ambiguous: bool = False
    others: tuple[str, ...] = ()


def find(values: Sequence[str], numeric: bool, cells: Mapping[str, int] = MappingProxyType({})) -> Dates | None:
    """Return how values write dates, day first if both orders fit equally well; None if they are no dates.

    Args:
        values: distinct values without those that mean "no value".
        numeric: all of them are numbers; then only days such as 20240131 are dates.
        cells: how many cells have each value, as far as it is known.
    """
    if not values or (numeric and not all(re.fullmatch(r"(?:19|20)\d{6}", value) for value in values)):
        return None
    forms = [form for form in ([] if numeric else [ISO, *_formats()]) if _fits(values[:_FIRST], form)]
    forms = list(_formats()) if numeric else forms
    misfits = {form: [value for value in values if not is_date(value, form)] for form in forms}

    def count(some: Sequence[str]) -> int:
        return sum(cells.get(value, 1) for value in some)

    possible = [
        form
        for form in forms
        if _few(len(misfits[form]), len(values))
        # Of few distinct dates, a single one that no calendar has is a large share.
        or (all(map(_pattern(form).fullmatch, misfits[form])) and _few(count(misfits[form]), count(values)))
    ]
    if not possible:
        return None
    best = min(possible, key=lambda form: len(misfits[form]))
    return Dates(best, _ambiguous(best, misfits), tuple(misfits[best]))


def is_date(value: str, form: str) -> bool:
    """Return True if a value is a date in a format, and the calendar has it, as for the generic features."""
    match = _pattern(form).fullmatch(value)
    if match is None:
        return False
    try:
        if form == ISO:
            datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
        else:
            datetime.strptime(value, form)
    except ValueError:
        return False
    return True


@cache
def _pattern(form: str) -> re.Pattern[str]:
    _, pattern = date_pattern(None if form == ISO else form)
    return re.compile(pattern, re.ASCII)


def _formats() -> Iterator[str]:
    return (f"{date}{time}" for date in DATES for time in TIMES)


def _fits(values: Sequence[str], form: str) -> bool:
    return sum(is_date(value, form) for value in values) >= len(values) / 2


def _few(misfits: int, values: int) -> bool:
    """Return True if so few of the values are no dates that the column is one of dates."""
    return misfits == 0 or (values >= 10 and misfits <= (1 - _ENOUGH) * values)


def _ambiguous(form: str, misfits: dict[str, list[str]]) -> bool:
    swapped = form.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
    return form.startswith("%d") and "%m" in form and len(misfits.get(swapped, "x")) == len(misfits[form])
