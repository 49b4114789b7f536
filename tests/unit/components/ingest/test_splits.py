"""Tests of the assignment of rows to splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.ingest import splits
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


def test_the_tail_of_a_span_is_later_than_its_head_and_as_large_as_test(month: CsvTable) -> None:
    parts, part_of = splits.parts_by_time(month, "time", {"train": 6, "valid": 1, "blend": 1, "test": 2})
    assert parts == ("head-train", "head-valid", "head-blend", "tail-train", "tail-valid", "tail-blend")
    by_side: dict[str, list[str]] = {"head": [], "tail": []}
    for row in month.rows():
        by_side[part_of(row).partition("-")[0]].append(row.cells[0])
    assert max(by_side["head"]) < min(by_side["tail"])
    assert len(by_side["tail"]) / 672 == pytest.approx(0.2, abs=0.02)


def test_numbers_are_ordered_as_numbers_and_missing_times_come_first(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("t\n" + "\n".join(["", *map(str, range(1, 100))]) + "\n")
    table = CsvTable((str(file),))
    _, part_of = splits.parts_by_time(table, "t", {"train": 8, "valid": 1, "blend": 1, "test": 10})
    tail = [row.cells[0] for row in table.rows() if part_of(row).startswith("tail")]
    assert sorted(map(int, tail)) == list(range(51, 100))


def test_a_missing_time_column_is_named(month: CsvTable) -> None:
    with pytest.raises(DataError, match="no time column 'date'; it has time, value"):
        splits.parts_by_time(month, "date", {"train": 1, "valid": 1, "blend": 1, "test": 1})
