"""The end of a node's log, shown beside the reason for its failure."""

from pathlib import Path

import pytest

from benison.pipelines.running.workers import last_lines


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        ("ValueError: a  b", "ValueError: a b (models.py, line 3)"),
        ("benison.serving.errors.DataError: column x: 3 rows", "column x: 3 rows"),
        ("ValueError: a\nb", "ValueError: a b"),
    ],
)
def test_lines_that_repeat_the_reason_are_left_out(tmp_path: Path, last: str, reason: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"line 1\n\nTraceback\n{last}\nconnection closed\n")
    assert last_lines(log, reason) == ["line 1", "Traceback", "connection closed"]
    assert last_lines(log, "the process was killed")[-2] == last.splitlines()[-1]
    assert last_lines(tmp_path / "none", reason) == []
