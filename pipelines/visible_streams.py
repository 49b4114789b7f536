"""Streams that show control characters as escapes, on the terminal and in the logs of nodes."""

from __future__ import annotations

import sys
from typing import Any, TextIO, cast

from benison.serving.visible_text import visible


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
            setattr(sys, name, VisibleStream(_with_escapes(stream)))


def _with_escapes(stream: Any) -> TextIO:
    """Return a stream that writes what its encoding cannot hold as escapes."""
    try:
        stream.reconfigure(errors="backslashreplace")
    except OSError:  # its descriptor has become a pipe since it was made, as that of a node under Airflow
        stream.flush()
        return open(
            stream.fileno(), "w", buffering=1, encoding=stream.encoding, errors="backslashreplace", closefd=False
        )
    return cast(TextIO, stream)
