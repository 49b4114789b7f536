"""Dates: `init` and the served graph take the same texts for dates."""

from __future__ import annotations

import pytest

from benison.components.ingest.times import DATES, TIMES
from benison.pipelines.generic.columns import DATE_LETTERS
from benison.pipelines.generic.date_forms import DATE_PARTS
from benison.pipelines.starting.dates import ISO, is_date

FORMS = (ISO, *(f"{date}{time}" for date in DATES for time in TIMES))
TEXTS = (
    *("2023-02-28", "2023-02-29", "2023-02-30", "2024-02-29", "1900-02-29", "2000-02-29", "2023-04-31", "2023-13-01"),
    *("2023-00-10", "2023-01-00", "0000-01-01", "2023-1-2", "2023-01-02T24:00", "2023-01-02 23:59:59.123456789"),
    *(
        "2023-01-02T10:60",
        "2023-01-02 10:30:60",
        "2023-01-02T1:05+01:00",
        "2023-01-02 10:5",
        "2023-01-02Z",
        "٢٠٢٣-01-02",
    ),
    *(
        "30/02/2023",
        "28/02/2023",
        "02/30/2023",
        "31.04.2024",
        "30.04.2024 7:15",
        "1/2/2024 13:00 PM",
        "1/2/2024 0:30 AM",
    ),
    *("1/2/2024 12:30 pm", "29 Feb 2023", "29 Feb 2024", "30 Foo 2024", "20230230", "20230228", "31/12/69", "29/02/23"),
    *("", "soon", "2023-02-28 later"),
)

# The graph also reads fractions of seconds, and names of months in both lengths.
ALSO_READ = {
    "%Y-%m-%d %H:%M:%S": {"2023-01-02 23:59:59.123456789"},
    "%d %B %Y": {"29 Feb 2024"},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_graph_reads_the_dates_that_init_counts_and_no_date_that_no_calendar_has(form):
    import tensorflow as tf

    from benison.pipelines.generic.features import date_parts

    _, known = date_parts(tf.constant([TEXTS]), None if form == ISO else form)
    read = {text for text, is_known in zip(TEXTS, known.numpy()[0], strict=True) if is_known}
    assert read == {text for text in TEXTS if is_date(text, form)} | ALSO_READ.get(form, set())


def test_dates_are_read_in_every_letter_that_a_config_may_have():
    assert {*DATE_PARTS, "B"} == set(DATE_LETTERS)
