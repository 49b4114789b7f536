"""Tables of commands are not cut where nobody reads them on a terminal, and user data does not control a terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

import benison.pipelines
from benison.pipelines.commands.output import console
from benison.pipelines.reports.tables import DataTable
from benison.pipelines.visible_streams import VisibleStream

NASTY = "\x1b[31m[red]a:smile:\n\tb\u202e"
PROGRAM = """
import sys
from benison.pipelines.commands.output import console
from benison.pipelines.visible_streams import show_control_characters
from benison.pipelines.reports.tables import DataTable
show_control_characters()
print("first \\x1b[2J")
table = DataTable("na\\x07me")
table.add_row("\\x1b]0;title")
console().print(table)
print("last", "\\udce9")
print("error \\x9b1m", file=sys.stderr)
"""


def test_a_row_in_a_pipe_is_one_whole_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = DataTable("run", "why")
    table.add_row("birds", "word " * 100)
    console().print(table)
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["birds", *["word"] * 100]


def test_a_cell_is_data_on_one_line_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    table = DataTable(NASTY)
    table.add_row(NASTY)
    table.add_row(Text("[b]"))
    console().print(table)
    shown = r"\x1b[31m[red]a:smile:\n\tb\u202e"
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [shown, shown, "[b]"]


def test_a_line_with_markup_shows_control_characters_too(capsys: pytest.CaptureFixture[str]) -> None:
    console().print("[bold]why:[/] \x1b[5m:smile:\nnext")
    assert capsys.readouterr().out.splitlines() == [r"why: \x1b[5m:smile:", "next"]


def test_lines_and_tables_keep_their_order_in_a_pipe() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        r"first \x1b[2J", r"na\x07me", r"\x1b]0;title", r"last \udce9",
    ]  # fmt: skip
    assert done.stderr == "error \\x9b1m\n"


def test_on_a_terminal_only_the_styles_of_tables_are_escape_sequences() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", PROGRAM], stdout=theirs, stderr=theirs, check=True, env=environment)
    os.close(theirs)
    shown = os.read(ours, 1 << 16)
    assert b"\x1b[1m" in shown  # the header is bold
    for sequence in (b"\x1b[2J", b"\x1b]0;", b"\x07", b"\x9b"):
        assert sequence not in shown


def test_a_stream_tells_what_the_stream_below_tells() -> None:
    below = io.StringIO()
    stream = VisibleStream(below)
    assert stream.write("a\x1b") == 2
    stream.writelines(["b", "\x1b\n"])
    assert below.getvalue() == "a\\x1bb\\x1b\n"
    assert stream.isatty() is False


def test_every_table_of_data_is_a_data_table() -> None:
    folder = Path(benison.pipelines.__file__).parent
    # The live view draws nodes, whose names are checked, with a spinner among them.
    allowed = {folder / "reports/tables.py", folder / "reports/progress.py"}
    files = {*folder.rglob("*.py")} - allowed
    assert len(files) > 50
    assert [file for file in files if "rich.table" in file.read_text(encoding="utf-8")] == []
