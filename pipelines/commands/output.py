"""The output of commands: a console for tables, and streams that show control characters as escapes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from benison.serving.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console

_UNLIMITED = 10_000  # characters


class VisibleStream:
    """A text stream that shows control characters as escapes.

    Everything that Python prints goes through it: lines of commands, errors, tracebacks. Rich's consoles write to the
    stream below, because their own colours are escape sequences; `console` escapes what they are given instead.

    Args:
        stream: the stream below.

    Attributes:
        rich_proxied_file: the stream that Rich's consoles write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write text; return the number of its characters."""
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write lines of text."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def show_control_characters() -> None:
    """Put a `VisibleStream` in front of stdout and stderr; a name that no encoding can hold is printed as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, VisibleStream):
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, VisibleStream(stream))


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
