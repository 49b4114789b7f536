"""The benchmark of a whole run compares variants within a round."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.pipeline import LABEL, Measurement, table, write_table


def test_a_ratio_is_that_of_the_same_round() -> None:
    rounds = [
        {"benison": Measurement(40, 70, 2000), "before": Measurement(100, 120, 1000)},
        {"benison": Measurement(60, 80, 2100), "before": Measurement(120, 121, 1001)},
    ]
    first, second = table(["benison", "before"], rounds).splitlines()[2:]
    assert first == "| benison | 50 (40 to 60) | 75 (70 to 80) | 2050 (2000 to 2100) | 1.00 (1.00 to 1.00) |"
    assert second == "| before | 110 (100 to 120) | 120 (120 to 121) | 1000 (1000 to 1001) | 0.45 (0.40 to 0.50) |"


def test_the_table_has_the_columns_asked_for_and_both_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", rows=200, numbers=7, categories=3)
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert list(rows[0]) == [*(f"n{n}" for n in range(7)), "c0", "c1", "c2", "day", "note", LABEL]
    assert {row[LABEL] for row in rows} == {"yes", "no"}
    assert any(row["n2"] == "" for row in rows)
