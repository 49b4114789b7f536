"""Tests of the time column: what is read, and what is refused because it is not clear."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benison.components.ingest.times import Cell, Survey, TimeColumn, format_fault
from benison.serving.errors import DataError


def survey(cells: Sequence[str | None], **options: object) -> Survey:
    column = TimeColumn("day", **options)  # type: ignore[arg-type]
    result = Survey(column)
    for line, text in enumerate(cells, start=2):
        result.add(Cell("a.csv", f"line {line}", text))
    return result


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["9/1/2013", "10/25/2013"], "%m/%d/%Y"),
        (["1/9/2013 1:30 PM", "25/10/2013 11:00 AM"], "%d/%m/%Y %I:%M %p"),
        (["01/01/2013", "02/02/2013", "13/01/2013"], "%d/%m/%Y"),
        (["2013-01-31"], "ISO 8601 without a time zone"),
        (["2013-01", "2013-02"], "ISO 8601 without a time zone"),
        (["2013-01-31 05:00:00+02:00", "2013-01-31T05:00Z"], "ISO 8601 with a time zone"),
        (["1 May 2013", "2 May 2013"], "%d %b %Y"),
        (["20130901", "20131001"], "number"),
        (["201308", "201317", "201401"], "number"),  # months, or weeks
        (["1378000000", "1378000060.5"], "number"),
        (["2007", "2008.0"], "number"),
    ],
)
def test_the_format_that_fits_all_cells_is_found(cells: list[str], form: str) -> None:
    assert survey(cells).format().name == form


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2013-01-31T23:00:00-05:00", "2013-02-01T05:00:00+00:00"),
        ("2013-10-27T02:30:00+02:00", "2013-10-27 02:30:00+01:00"),
        ("2013-01-31T05:00:00.123456788Z", "2013-01-31T05:00:00.123456789Z"),
    ],
)
def test_time_zones_and_fractions_count(earlier: str, later: str) -> None:
    form = survey([later, earlier]).format()
    assert form.parse(earlier) < form.parse(later)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["01/01/2013", "01/02/2013", "03/04/2013"],
            r"a.csv, line 3, column 'day': '01/02/2013' is 2013-02-01 as %d/%m/%Y and 2013-01-02 as %m/%d/%Y, and both "
            r"fit the whole column; set data.time_format",
        ),
        (["01-02-03"], "set data.time_format to the right one"),
        (["110913", "120913"], "is the number 110913 as number and 2013-09-11 as %d%m%y"),
        (["9.2013", "10.2013", "1.2014"], "is the number 9.2013 as number and 2013-09-01 as %m.%Y"),
        (["2013.9", "2013.10"], "is the number 2013.9 as number and 2013-09-01 as %Y.%m"),
        (["01092013", "02092013"], "2013-09-01 as %d%m%Y and 2013-01-09 as %m%d%Y"),
        (
            ["1378000000", "1378000000000"],
            r"line 3, column 'day': got '1378000000000' \(milliseconds since 1970\) and before it, in a.csv, line 2, "
            r"'1378000000' \(seconds since 1970\); expected one unit",
        ),
    ],
)
def test_a_column_with_two_readings_is_refused(cells: list[str], message: str) -> None:
    result = survey(cells)
    with pytest.raises(DataError, match=message):
        result.format()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["2013-01-31", "soon"],
            r"a.csv, line 3, column 'day': got 'soon', expected ISO 8601 without a time zone .*as in a.csv, line 2 "
            r"\('2013-01-31'\); if it means a missing value, add it to data.missing; otherwise",
        ),
        (["2013-01-31T05:00Z", "2013-01-31T05:00"], "expected ISO 8601 with a time zone as in"),
        (["2013-02-30"], "got '2013-02-30', expected a time in ISO 8601"),
        (["nan"], "got 'nan'"),
        (["1/2/2013", "2013-01-02"], "got '2013-01-02', expected %d/%m/%Y or %m/%d/%Y as in a.csv, line 2"),
    ],
)
def test_a_cell_that_is_no_time_is_named_by_file_line_and_column(cells: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        survey(cells)


@pytest.mark.parametrize(
    "cells",
    [
        ["20139", "201310", "20141"],  # year and month
        ["139", "1310", "141"],
        ["914", "1013"],  # month and year
        ["2013930", "20131001"],
        ["31122013", "3122013"],  # day, month, year, without the leading zero; 31.2. is no day
        ["9.2013", "47.2012"],  # week and year
        ["2013.5", "2013.17"],
        ["30.9", "1.10"],
        ["8.5", "8.15"],
        ["0", "1"],
    ],
    ids=" ".join,
)
def test_numbers_that_may_not_sort_by_time_are_refused_without_a_format(cells: list[str]) -> None:
    with pytest.raises(DataError, match="are numbers that are read as times"):
        survey(cells).format()
    assert survey(cells, format="number").format().name == "number"


def test_the_given_format_decides() -> None:
    assert survey(["01/02/2013"], format="%m/%d/%Y").format().show(1357084800 * 10**9) == "2013-01-02"
    assert survey(["110913", "5"], format="number").format().parse("5") == 5
    assert survey(["5", "1378000000000"], format="number").format().name == "number"
    with pytest.raises(DataError, match=r"got '13/01/2013', expected a time as data.time_format '%m/%d/%Y'"):
        survey(["01/02/2013", "13/01/2013"], format="%m/%d/%Y")


def test_decimal_commas_are_read() -> None:
    assert survey(["1378000000,5"], decimal=",").format().parse("1378000000,5") == 1378000000.5


def test_missing_cells_are_no_times_and_too_many_are_refused() -> None:
    cells = ["2013-01-31", "NA", None, "2013-02-01", "2013-02-02"]
    missing = frozenset({"", "NA"})
    with pytest.raises(DataError, match=r"2 of 5 rows \(40.00%\) have no time.* more than validation.max_missing_time"):
        survey(cells, missing=missing).format()
    assert survey(cells, missing=missing, max_missing=0.4).format().name.startswith("ISO")
    with pytest.raises(DataError, match=r"data\.time needs a column with times"):
        survey(["NA"], missing=missing, max_missing=1).format()


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("%d/%m/%Y", ""),
        ("number", ""),
        ("%d/%m %H:%M", "has no year"),
        ("%Y %Q", "is not a format of strptime"),
        ("%Y-%m-%d %Z", "%z"),
        ("seconds", "has no year"),
    ],
)
def test_a_wrong_format_is_refused(form: str, fault: str) -> None:
    assert fault in format_fault(form)
    assert bool(fault) == bool(format_fault(form))
