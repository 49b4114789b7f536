"""Tables of commands are not cut where nobody reads them on a terminal."""

from __future__ import annotations

import pytest
from rich.table import Table

from benison.pipelines.commands.output import console


def test_a_row_in_a_pipe_is_one_whole_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = Table("run", "why", box=None)
    table.add_row("birds", "word " * 100)
    console().print(table)
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["birds", *["word"] * 100]
