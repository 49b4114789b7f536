"""Every command in the documentation is one that the command line, the Makefile or the server takes."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import typer

from benison.pipelines.cli import app
from benison.serving.server import flags
from tests.commands_in_docs import CLONE, OTHERS, PAGES, Command, in_blocks, in_sentences

TARGETS = set(re.findall(r"^([a-z-]+):", (CLONE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMMANDS = typer.main.get_command(app)


def ids(command: Command) -> str:
    return f"{command.page}:{command.line}"


def check_benison(words: list[str]) -> None:
    """Parse the words as the command line does; nothing runs."""
    command, path = COMMANDS, ["benison"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{' '.join(path)} has no command {words[0]!r}"
        command, path, words = command.commands[words[0]], [*path, words[0]], words[1:]
    command.make_context(" ".join(path), words)


def check_a_part_of_benison(words: list[str]) -> None:
    """Check the command and the names of the options; arguments may be left out."""
    command: Any = COMMANDS
    while hasattr(command, "commands") and words and not words[0].startswith(("-", "[")):
        if words[0] in ("NAME", "COMMAND", "…"):
            return
        assert words[0] in command.commands, f"no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = [word.strip("[]").partition("=")[0] for word in words if word.strip("[]").startswith("-")]
    assert [option for option in named if option not in {*known, "--help"}] == []


def check_make(words: list[str]) -> None:
    assert [word for word in words if "=" not in word and not word.startswith("-") and word not in TARGETS] == []


def check_server(words: list[str]) -> None:
    flags.parse(words)


def check_python(words: list[str]) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]), f"no module {words[1]}"


WHOLE: Mapping[str, Callable[[list[str]], None]] = {
    "benison": check_benison,
    "benison-model-server": check_server,
    "make": check_make,
    "python": check_python,
    "second-track": check_make,
}
IN_BLOCKS = [command for page in PAGES for command in in_blocks(page)]


def test_the_blocks_of_commands_are_found() -> None:
    assert len(IN_BLOCKS) >= 70
    assert {command.page for command in IN_BLOCKS} >= {"README.md", "docs/quickstart.md", "docs/versions.md"}


@pytest.mark.parametrize("command", IN_BLOCKS, ids=ids)
def test_a_command_in_a_block_is_taken(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENISON_ROOT", raising=False)
    for program, *words in command.calls:
        assert program in WHOLE or program in OTHERS, (
            f"{program}: an unknown program; add it to commands_in_docs.OTHERS"
        )
        if program in WHOLE:
            WHOLE[program](words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CLONE).as_posix())
def test_commands_in_sentences_exist(page: Any) -> None:
    for command in in_sentences(page):
        text = command.text.replace("…", "").replace("'", "")
        program, *words = text.split()
        check = {"benison": check_a_part_of_benison, "make": check_make}.get(program.rpartition("/")[2])
        try:
            if check:
                check(words)
        except AssertionError as error:
            raise AssertionError(f"{command}: {error}") from error
