"""Draw a terminal's text as a picture.

Example: `COLUMNS=110 benison run flights --span 3-5 | python docs/make_picture.py docs/pictures/run.svg`.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

_TITLE = "make demo"


def svg(text: str) -> str:
    """Return the text as an SVG that loads nothing from elsewhere.

    Args:
        text: what a command printed; control sequences are colours.
    """
    lines = text.rstrip("\n").split("\n")
    width = max(len(Text.from_ansi(line)) for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ignore", crop=False, highlight=False)
    # Without its web fonts the picture uses the reader's monospaced one.
    drawn = re.sub(r"@font-face\s*{.*?}\s*", "", console.export_svg(title=_TITLE, unique_id="run"), flags=re.DOTALL)
    return drawn.replace("Fira Code", "ui-monospace, Menlo, Consolas")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(sys.stdin.read()), encoding="utf-8")
