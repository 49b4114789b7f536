"""Tests of the assignment of rows to splits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from benison.components.ingest import splits, times
from benison.components.ingest.csv_table import CsvTable
from benison.serving.errors import DataError


def test_a_row_is_always_in_the_same_split_and_shares_follow_the_buckets() -> None:
    rows = [[str(i), "x"] for i in range(4000)]
    assigned = [splits.split_index(row, [6, 1, 1, 2]) for row in rows]
    assert assigned == [splits.split_index(list(row), [6, 1, 1, 2]) for row in rows]
    shares = [assigned.count(split) / len(rows) for split in range(4)]
    assert shares == pytest.approx([0.6, 0.1, 0.1, 0.2], abs=0.03)


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match=r"rows\.csv: too few rows \(3\): no row is in the splits blend, test"):
        splits.check_counts("rows.csv", {"train": 2, "valid": 1, "blend": 0, "test": 0})


@pytest.fixture
def month(tmp_path: Path) -> CsvTable:
    file = tmp_path / "month.csv"
    rows = [f"2013-01-{day:02d}T{hour:02d}:00,{day * 100 + hour}" for day in range(1, 29) for hour in range(24)]
    file.write_text("time,value\n" + "\n".join(reversed(rows)) + "\n")
    return CsvTable((str(file),))


SPLITS = {"train": 6, "valid": 1, "blend": 1, "test": 2}


def by_side(table: CsvTable, parts: splits.TimeParts) -> dict[str, list[str]]:
    """Return the times of the head and of the tail."""
    index = times.index_of(table, parts.column.name)
    sides: dict[str, list[str]] = {"head": [], "tail": []}
    for row in table.rows():
        sides[parts.part_of(row.cells[index], row.cells).partition("-")[0]].append(row.cells[index])
    return sides


def divided(table: CsvTable, shares: dict[str, int] = SPLITS, **options: Any) -> splits.TimeParts:
    column = times.TimeColumn(table.header[0], **options)
    return splits.parts_by_time(times.cells_of(table, column.name), column, shares)


def table_of(folder: Path, cells: Sequence[str]) -> CsvTable:
    """Return a table with these times; every row is different."""
    file = folder / "rows.csv"
    file.write_text("t,row\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    return CsvTable((str(file),))


def test_the_tail_of_a_span_is_later_than_its_head_and_as_large_as_test(month: CsvTable) -> None:
    parts = divided(month)
    assert parts.names == ("head-train", "head-valid", "head-blend", "tail-train", "tail-valid", "tail-blend")
    sides = by_side(month, parts)
    assert max(sides["head"]) < min(sides["tail"])
    assert len(sides["tail"]) / 672 == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ("{t:%m}/{t.day}/{t:%Y}", None),  # 9/30/2013 is before 10/1/2013, and 13 is no month
        ("{t.month}/{t.day}/{t:%Y} {t:%I:%M %p}", "%m/%d/%Y %I:%M %p"),
        ("{t:%d %b %Y}", None),
        ("{t:%Y-%m-%dT%H:%M}", None),
        ("{s}", None),
        ("{s}000", None),
        ("{s}.5", None),
        ("{t:%d%m%Y}", "%d%m%Y"),
    ],
)
def test_times_sort_by_time_in_every_format(tmp_path: Path, form: str, given: str | None) -> None:
    days = [datetime(2013, 8, 1, tzinfo=timezone.utc) + timedelta(days=day) for day in range(100)]
    cells = [form.format(t=day, s=int(day.timestamp())) for day in days]
    shuffled = random.Random(0).sample(cells, len(cells))
    sides = by_side(table := table_of(tmp_path, shuffled), divided(table, format=given))
    assert sorted(sides["tail"]) == sorted(cells[81:])  # the latest rows, although their texts sort otherwise


def test_rows_without_a_time_are_in_train_and_are_counted(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["NA", "", *(f"{day}/9/2013" for day in range(1, 31))])
    parts = divided(table, missing=frozenset({"", "NA"}), format="%d/%m/%Y")
    assert {parts.part_of(cell, [cell]) for cell in ("NA", "")} == {"head-train"}
    (warning,) = parts.warnings
    assert "rows.csv, line 2, column 't': 2 of 32 rows (6.25%) have no time" in warning
    assert warning.endswith("rows without a time are in `train`")


def test_a_missing_time_column_is_named(month: CsvTable) -> None:
    with pytest.raises(DataError, match="no time column 'date'; it has time, value"):
        times.cells_of(month, "date")


def test_coarse_times_leave_rows_for_test(tmp_path: Path) -> None:
    table = table_of(tmp_path, [str(year) for year in (2007, 2008, 2009) for _ in range(100)])
    assert by_side(table, divided(table))["tail"] == ["2009"] * 100


def test_a_span_of_one_time_has_no_tail_and_alone_it_is_refused(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["2013-04"] * 400)
    assert by_side(table, divided(table))["tail"] == []
    with pytest.raises(
        DataError, match=r"rows\.csv: all 400 rows have the same time; `test` needs rows that are later"
    ):
        splits.check_counts("rows.csv", {"train": 300, "valid": 50, "blend": 50, "test": 0}, by_time=True)
