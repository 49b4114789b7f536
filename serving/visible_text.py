r"""Text of users and their files as a terminal can show it: characters that control the terminal become escapes.

A column name, a cell, a class or a file name may contain the escape character, which could colour, overwrite or hide
what is printed after it. `\x1b` is then printed as four characters. Letters of every script stay as they are, with the
joiners that some scripts need.
"""

from __future__ import annotations

import json
import re

_LAYOUT = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}
# Controls, marks and overrides of the writing direction, line separators, invisible blanks, half characters.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_IN_TEXT = re.compile(f"[{_HIDDEN}]")
_IN_LINE = re.compile(f"[{_HIDDEN}\n\t]")


def visible(text: str) -> str:
    """Return text with its control characters as escapes; line breaks and tabs stay."""
    return _IN_TEXT.sub(_escape, text)


def visible_line(text: str) -> str:
    """Return text on one line: control characters, line breaks and tabs as escapes."""
    return _IN_LINE.sub(_escape, text)


def visible_json(text: str) -> str:
    r"""Return a JSON document with its control characters as JSON's escapes, such as `\u009b`; it means the same."""
    return _IN_TEXT.sub(lambda match: json.dumps(match.group())[1:-1], text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _LAYOUT.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
