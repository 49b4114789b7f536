"""The help of every command is drawn, and shows all that is written for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import benison
from benison.pipelines import cli

WIDTH = 400  # characters: no help text is wrapped


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))


def test_the_subcommands_are_found() -> None:
    assert {(), ("run",), ("span", "add"), ("ensemble", "import")} <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "benison")
def test_the_help_of_a_command_shows_every_text(path: tuple[str, ...]) -> None:
    # A square bracket in a text is markup to rich: it ends in a traceback, or the text is missing.
    done = CliRunner().invoke(cli.app, [*path, "--help"], terminal_width=WIDTH, env={"COLUMNS": str(WIDTH)})
    assert done.exit_code == 0, done.exception
    command = COMMANDS[path]
    texts = [parameter.help for parameter in command.params if getattr(parameter, "help", None)]
    texts += [child.get_short_help_str(WIDTH) for child in getattr(command, "commands", {}).values()]
    drawn = " ".join(done.output.split())
    for text in (*texts, *(command.help or "").split("\n\n")):
        assert " ".join(text.split()) in drawn


# A narrow and a wide terminal, a pipe, no colours, and a terminal that can do nothing.
PLACES: list[dict[str, str | None]] = [
    {"COLUMNS": "40", "FORCE_COLOR": "1"},
    {"COLUMNS": "200", "FORCE_COLOR": "1"},
    {"COLUMNS": "40", "NO_COLOR": "1"},
    {"COLUMNS": "80", "TERM": "dumb"},
    {"COLUMNS": None, "TERM": None},
]


@pytest.mark.parametrize("place", PLACES, ids=str)
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "benison")
def test_help_is_drawn_everywhere_and_names_every_option(path: tuple[str, ...], place: dict[str, str | None]) -> None:
    columns = int(place["COLUMNS"] or 80)
    cli.fit_help_to(columns)
    try:
        usual = {"NO_COLOR": None, "FORCE_COLOR": None, "TERM": "xterm"}
        done = CliRunner().invoke(cli.app, [*path, "--help"], env={**usual, **place})
    finally:
        cli.fit_help_to(80)
    assert done.exit_code == 0, done.exception
    assert ("\x1b" in done.output) == ("FORCE_COLOR" in place and columns > 40)
    drawn = re.sub("\x1b\\[[0-9;]*m", "", done.output)
    assert max(map(len, drawn.splitlines())) <= max(columns, 80)  # the test's terminal has 80
    options = [name for parameter in COMMANDS[path].params for name in parameter.opts if name.startswith("--")]
    for name in (*options, *getattr(COMMANDS[path], "commands", {})):
        assert name in drawn


def test_help_goes_through_a_pipe_that_is_closed_early() -> None:
    program = Path(sys.executable).with_name("benison")
    shown = subprocess.run(
        ["sh", "-c", f"{program} --help | head -n 1"], capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stderr == ""


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "benison")
def test_values_are_named_in_capitals_and_once(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    usage = " ".join(command.collect_usage_pieces(typer.Context(command)))
    assert "[[" not in usage
    assert "…" not in usage
    own = [parameter.metavar for parameter in command.params if parameter.metavar]
    assert own == [metavar.upper() for metavar in own]
    assert all(parameter.metavar for parameter in command.params if parameter.param_type_name == "argument")


def test_python_runs_the_package() -> None:
    run = [sys.executable, "-m", "benison", "--version"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"benison {benison.__version__}\n"


def test_version_prints_the_version() -> None:
    program = Path(sys.executable).with_name("benison")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"benison {benison.__version__}\n"
