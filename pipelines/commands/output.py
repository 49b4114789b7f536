"""The console that commands print tables on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000  # characters


def console() -> Console:
    """Return a console as wide as the terminal; in a pipe or a file each row is one whole line."""
    from rich.console import Console

    usual = Console()
    return usual if usual.is_terminal else Console(width=_UNLIMITED)
