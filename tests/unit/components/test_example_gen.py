"""Rows into splits."""

from __future__ import annotations

import pytest

from components import example_gen
from serving.errors import DataError


def test_a_row_falls_into_the_same_split_always_and_shares_follow_the_buckets() -> None:
    rows = [[str(i), "x"] for i in range(4000)]
    assigned = [example_gen.assign(row, [6, 1, 1, 2]) for row in rows]
    assert assigned == [example_gen.assign(list(row), [6, 1, 1, 2]) for row in rows]
    shares = [assigned.count(split) / len(rows) for split in range(4)]
    assert shares == pytest.approx([0.6, 0.1, 0.1, 0.2], abs=0.03)


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="3 rows are too few: no row falls into blend, test"):
        example_gen.check_counts("rows.csv", {"train": 2, "valid": 1, "blend": 0, "test": 0})
