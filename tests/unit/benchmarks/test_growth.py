"""The growth benchmark draws the right rows and prints the right tables."""

from __future__ import annotations

from pathlib import Path

from benchmarks.growth import Measurement, draw, tables


def flights(folder: Path) -> Path:
    for month in (3, 4):
        lines = ["day,late", *(f"{day},no" for day in range(1, 31))]
        (folder / f"{month}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_each_month_gets_a_multiple_of_its_rows_in_their_original_order(tmp_path: Path) -> None:
    assert draw(flights(tmp_path), tmp_path / "x3", 3, [3, 4]) == 180
    header, *rows = (tmp_path / "x3" / "4.csv").read_text().splitlines()
    days = [int(row.split(",")[0]) for row in rows]
    assert header == "day,late"
    assert len(days) == 90
    assert days == sorted(days)
    assert set(days) <= set(range(1, 31))


def test_rows_are_drawn_with_replacement_and_are_the_same_each_time(tmp_path: Path) -> None:
    originals = flights(tmp_path)
    for folder in ("one", "other"):
        draw(originals, tmp_path / folder, 1, [3])
    drawn = (tmp_path / "one" / "3.csv").read_text()
    assert drawn == (tmp_path / "other" / "3.csv").read_text()
    assert len(set(drawn.splitlines())) < 31


def test_a_node_that_runs_once_per_span_has_its_largest_figures() -> None:
    measured = {
        "x1": [
            Measurement("ExampleGen[3]", "ExampleGen", 1, 2, 800),
            Measurement("ExampleGen", "ExampleGen", 3, 4, 700),
        ],
        "x3": [Measurement("ExampleGen[3]", "ExampleGen", 5, 5, 1900)],
    }
    wall, processor, memory = tables(measured).split("\n\n")
    assert wall.splitlines() == ["| wall seconds | x1 | x3 |", "| --- | --- | --- |", "| ExampleGen | 3 | 5 |"]
    assert processor.splitlines()[2] == "| ExampleGen | 4 | 5 |"
    assert memory.splitlines()[2] == "| ExampleGen | 800 | 1,900 |"
