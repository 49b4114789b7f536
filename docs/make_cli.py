"""Write docs/cli.md from the help texts of the command line: `python docs/make_cli.py`.

`--check` writes nothing, and ends with 1 if the file differs from the code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("cli.md")
# Typer prints a default and a variable per option; a variable that is set here must not change the page.
_SETTINGS = ("BENISON_ROOT",)
_INTRODUCTION = """\
<!-- Made by docs/make_cli.py from the code; do not edit. -->

"""
_EXIT_CODES = """\
## Exit codes

| code | meaning |
|---|---|
| 0 | blessed and pushed, or served already, or done |
| 1 | a node failed, or the data is invalid |
| 2 | wrong usage or config |
| 3 | finished, but not blessed or not pushed |
| 130 | interrupted |
"""


def text() -> str:
    """Return the page: every command with its arguments and options, then the exit codes."""
    for name in _SETTINGS:
        os.environ.pop(name, None)

    import typer
    from typer.cli import get_docs_for_click

    from benison.pipelines.cli import app

    command = typer.main.get_command(app)
    # Without a markup mode typer leaves help texts as they are; with one it wraps them to the width of the terminal.
    context = typer.Context(command, info_name="benison")
    commands = get_docs_for_click(obj=command, ctx=context, name="benison", title="Commands")
    return f"{_INTRODUCTION}{_with_whole_lines(commands, command).strip()}\n\n{_EXIT_CODES}"


def _with_whole_lines(page: str, group: Any) -> str:
    """Replace the first lines of the commands' help, which typer cuts in its lists, by the whole lines."""
    for name, command in group.commands.items():
        whole = (command.help or "").split("\n\n")[0].replace("\n", " ").strip()
        page = page.replace(f"* `{name}`: {command.get_short_help_str()}\n", f"* `{name}`: {whole}\n")
        page = _with_whole_lines(page, command) if hasattr(command, "commands") else page
    return page


def main() -> int:
    """Write the page, or compare it with the code."""
    made = text()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == made:
        return 0
    print(f"{PAGE.name}: differs from the code; run python docs/make_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
