"""The record of changes: what was added is there, in order, whatever a killed writer left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.serving.promotion import history
from benison.serving.promotion.history import Change


def change(before: int | None, to: int | None, label: str = "stable", action: str = "promote") -> Change:
    return Change(action, label, before, to, "ann", "why\nnot", "2026-01-02T03:04:05+00:00", ("localhost:8500",))


def test_what_was_added_is_read_in_its_order(tmp_path: Path) -> None:
    assert history.read(tmp_path) == []
    made = [change(None, 1), change(1, 2), change(2, None, "canary")]
    for one in made:
        history.append(tmp_path, one)
    assert history.read(tmp_path) == made
    assert len((tmp_path / history.FILE).read_text().splitlines()) == 3


def test_a_line_that_was_half_written_spoils_no_other(tmp_path: Path) -> None:
    history.append(tmp_path, change(None, 1))
    with (tmp_path / history.FILE).open("a") as file:
        file.write('{"when": "2026-')
    history.append(tmp_path, change(1, 2))
    assert history.read(tmp_path) == [change(None, 1), change(1, 2)]


@pytest.mark.parametrize(
    ("moves", "line"),
    [
        ([], []),
        ([(None, 1)], [1]),
        ([(None, 1), (1, 2), (2, 3)], [1, 2, 3]),
        ([(None, 1), (1, 2), (2, 3), -2], [1, 2]),  # what was gone back from is no way to go back to
        ([(None, 1), (1, 2), (2, 1)], [1, 2, 1]),
        ([(None, 1), (1, 2), (2, 1), (1, 3), -1, -2], [1, 2]),
        ([(None, 1), (1, 3), -2], [1, 3, 2]),  # by its number, without having been there
        ([(7, 8)], [7, 8]),  # served before there was a record
    ],
)
def test_the_history_leads_back_through_the_versions_that_had_a_label(moves: list[Any], line: list[int]) -> None:
    changes = [change(9, -move, action="rollback") if isinstance(move, int) else change(*move) for move in moves]
    assert history.label_history([*changes, change(None, 9, "canary")], "stable") == line
