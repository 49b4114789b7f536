"""Dates and the numbers of spans: with `spans: {first: 2013-01, every: month}` April of 2013 is span 4."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

Every = Literal["day", "week", "month", "year"]
# How the first period is written; a week is named by a day in it.
FORMS = {"day": "2013-01-31", "week": "2013-01-31", "month": "2013-01", "year": "2013"}
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ]\S*)?)?)?")
_PARTS = {"day": 3, "week": 3, "month": 2, "year": 1}


def number(text: str, first: str, every: Every) -> int | None:
    """The number of the span that a date lies in; the period of `first` is span 1.

    Args:
        text: an ISO date, with or without a time, or as much of one as tells the period.
        first: the same, of span 1.
        every: the length of a period.

    Returns:
        The number, less than 1 before `first`; None where `text` is no such date.
    """
    asked, start = _index(text, every), _index(first, every)
    return None if asked is None or start is None else asked - start + 1


def is_date(text: str, every: Every) -> bool:
    """Whether a text tells a period."""
    return _index(text, every) is not None


def _index(text: str, every: Every) -> int | None:
    """The periods' count from an origin of theirs; None where the text tells none."""
    form = _DATE.fullmatch(text)
    given = [int(part) for part in form.groups() if part] if form else []
    if len(given) < _PARTS[every]:
        return None
    year, month, day = [*given, 1, 1][:3]
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        return None
    # Day 1 of the calendar was a Monday, as ISO's weeks begin.
    return {"day": days, "week": (days - 1) // 7, "month": year * 12 + month, "year": year}[every]
