"""Conversion of dates to span numbers."""

from __future__ import annotations

import pytest

from benison.pipelines.config import periods


@pytest.mark.parametrize(
    ("text", "first", "every", "number"),
    [
        ("2013-01", "2013-01", "month", 1),
        ("2013-04", "2013-01", "month", 4),
        ("2014-01", "2013-01", "month", 13),
        ("2012-12", "2013-01", "month", 0),
        ("2013-04-30", "2013-01", "month", 4),
        ("2013-04-01T00:00:00+00:00", "2013-01", "month", 4),
        ("2013-03-01", "2013-02-28", "day", 2),
        ("2013-01-13", "2013-01-07", "week", 1),  # a Sunday, and the Monday before
        ("2013-01-14", "2013-01-07", "week", 2),
        ("2015", "2013", "year", 3),
    ],
)
def test_a_date_means_the_span_of_its_period(text: str, first: str, every: periods.Every, number: int) -> None:
    assert periods.number(text, first, every) == number


@pytest.mark.parametrize(
    ("text", "every"),
    [("3", "month"), ("1-3", "month"), ("2013", "month"), ("2013-04", "day"), ("2013-13", "month"), ("", "year")],
)
def test_text_without_a_period_is_not_a_date(text: str, every: periods.Every) -> None:
    assert periods.number(text, "2013-01-01", every) is None
