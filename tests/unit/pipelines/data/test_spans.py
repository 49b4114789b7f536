"""Spans on disk appear complete and never change; a run takes a window of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.config import Pipeline
from benison.pipelines.data import span_changes, spans
from benison.serving.errors import DataError, UsageError


@pytest.fixture
def config(tmp_path: Path) -> Pipeline:
    return Pipeline.model_validate(
        {
            "source": str(tmp_path / "p.yaml"),
            "name": "p",
            "problem": "binary",
            "label": "late",
            "data": {"time": "t"},
            "spans": {"window": 2},
            "features": "features.py",
            "models": "models.py",
            "ensemble": {"members": {"linear": {}}},
        }
    )


def month(folder: Path, number: int) -> Path:
    file = folder / f"month-{number}.csv"
    file.write_text(f"t,late\n{2 * number},yes\n{2 * number + 1},no\n")
    return file


def land(config: Pipeline, root: Path, *numbers: int) -> None:
    for number in numbers:
        span_changes.add(config, root, [month(root, number)], number)


def test_a_span_is_added_with_its_rows_and_hash_under_the_next_number(config, tmp_path: Path) -> None:
    first, second = (span_changes.add(config, tmp_path, [month(tmp_path, number)]) for number in (1, 2))
    assert [first.number, second.number] == [1, 2]
    assert first.rows == 2
    assert first.sha256 != second.sha256
    assert spans.all_spans(tmp_path, "p") == [first, second]


def test_a_span_is_never_changed_by_adding(config, tmp_path: Path) -> None:
    land(config, tmp_path, 3)
    with pytest.raises(UsageError, match="span 3 already exists"):
        span_changes.add(config, tmp_path, [month(tmp_path, 4)], 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [("t,late\n1\n", "line 2: 1 cells, expected 2"), ("t,late\n", "a header but no rows"), ("", "empty")],
)
def test_a_file_that_is_not_a_table_is_refused_and_leaves_nothing(
    config, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        span_changes.add(config, tmp_path, [file])
    assert spans.all_spans(tmp_path, "p") == []
    assert not list((tmp_path / "spans").rglob("*.csv"))


@pytest.mark.parametrize(
    ("asked", "window"),
    [(None, (4, 5)), ("5", (4, 5)), ("2", (1, 2)), ("1", (1,)), ("1-3", (1, 2, 3)), ("2-2", (2,))],
)
def test_a_window_is_the_newest_spans_or_the_requested_ones(config, tmp_path: Path, asked, window) -> None:
    land(config, tmp_path, *range(1, 6))
    assert spans.window(config, tmp_path, asked) == window


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("x", "expected a number such as 3, or a range such as 1-3"),
        ("3-1", "expected a number such as 3, or a range such as 1-3"),
        ("1-9", "there is no span 2; the spans are 1"),
        ("7", "there is no span 7; the spans are 1"),
    ],
)
def test_an_impossible_window_is_refused(config, tmp_path: Path, asked: str, message: str) -> None:
    land(config, tmp_path, 1)
    with pytest.raises(UsageError, match=message):
        spans.window(config, tmp_path, asked)


def test_without_spans_the_message_names_the_next_command(config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="benison span add p FILE"):
        spans.window(config, tmp_path, None)


def test_new_spans_of_a_pattern_are_added_once_under_their_numbers(config, tmp_path: Path) -> None:
    offered = tmp_path / "offered"
    offered.mkdir()
    for number, name in enumerate(("01.csv", "2.csv", "10.csv", "notes.csv")):
        month(tmp_path, number).rename(offered / name)
    with_pattern = config.model_copy(update={"data": config.data.model_copy(update={"csv": f"{offered}/{{SPAN}}.csv"})})
    for _ in range(2):
        span_changes.add_from_source(with_pattern, tmp_path)
        assert [span.number for span in spans.all_spans(tmp_path, "p")] == [1, 2, 10]
    span_changes.remove(tmp_path, "p", 2)
    span_changes.add_from_source(with_pattern, tmp_path)
    assert [span.number for span in spans.all_spans(tmp_path, "p")] == [1, 10]


@pytest.fixture
def monthly(config) -> Pipeline:
    raw = config.model_dump(mode="json")
    return Pipeline.model_validate({**raw, "spans": {"window": 2, "first": "2013-01", "every": "month"}})


@pytest.mark.parametrize("asked", ["3", "2013-03", "2013-03-01", "2013-03-01T00:00:00+00:00"])
def test_a_date_means_the_span_of_its_period(monthly, tmp_path: Path, asked: str) -> None:
    land(monthly, tmp_path, *range(1, 5))
    assert spans.window(monthly, tmp_path, asked) == (2, 3)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("2012-12", "--span 2012-12: is before 2013-01, which is span 1"),
        ("2013-12", "there is no span 12; the spans are 1"),
        ("spring", "a range such as 1-3, or a date in a month"),
    ],
)
def test_a_date_without_a_span_is_refused(monthly, tmp_path: Path, asked: str, message: str) -> None:
    land(monthly, tmp_path, 1)
    with pytest.raises(UsageError, match=message):
        spans.window(monthly, tmp_path, asked)
