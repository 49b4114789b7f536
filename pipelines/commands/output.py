"""The output of commands: a console for tables."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benison.serving.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console

    from benison.pipelines.tracking.sending import Sent

_UNLIMITED = 10_000  # characters


def console() -> Console:
    """Return a console as wide as the terminal; in a pipe or a file each row is one whole line.

    It shows control characters in strings as escapes, and does not turn `:name:` into a picture.
    """
    from rich.console import Console
    from rich.text import Text

    class Screen(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **options)

    out = getattr(sys.stdout, "rich_proxied_file", sys.stdout)
    usual = Screen(file=out, emoji=False)
    return usual if usual.is_terminal else Screen(file=out, emoji=False, width=_UNLIMITED)


def print_warnings(sent: Sent) -> None:
    """Print what trackers did not take, on stderr."""
    for warning in sent.warnings:
        print(f"warning: {warning}", file=sys.stderr)
