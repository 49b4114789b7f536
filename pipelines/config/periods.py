"""Convert dates to span numbers: with `spans: {first: 2013-01, every: month}`, April 2013 is span 4."""

from __future__ import annotations

import re
from datetime import date
from typing import Literal

Every = Literal["day", "week", "month", "year"]
# An example of each period; any day of a week names the week.
FORMS = {"day": "2013-01-31", "week": "2013-01-31", "month": "2013-01", "year": "2013"}
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:[T ]\S*)?)?)?")
_PARTS = {"day": 3, "week": 3, "month": 2, "year": 1}


def number(text: str, first: str, every: Every) -> int | None:
    """Return the number of the span that contains a date; the period of `first` is span 1.

    Args:
        text: an ISO date, with or without a time, or its first parts if they determine the period.
        first: a date in span 1, in the same form.
        every: the length of a period.

    Returns:
        The number, less than 1 for a date before `first`; None if `text` is not such a date.
    """
    index, start = _index(text, every), _index(first, every)
    return None if index is None or start is None else index - start + 1


def is_date(text: str, every: Every) -> bool:
    """Return whether a text determines a period."""
    return _index(text, every) is not None


def _index(text: str, every: Every) -> int | None:
    """Count the periods from a fixed origin; None if the text determines no period."""
    match = _DATE.fullmatch(text)
    numbers = [int(part) for part in match.groups() if part] if match else []
    if len(numbers) < _PARTS[every]:
        return None
    year, month, day = [*numbers, 1, 1][:3]
    try:
        days = date(year, month, day).toordinal()
    except ValueError:
        return None
    # Day 1 of the calendar was a Monday, the first day of an ISO week.
    return {"day": days, "week": (days - 1) // 7, "month": year * 12 + month, "year": year}[every]
