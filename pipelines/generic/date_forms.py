"""The forms of dates as regular expressions (RE2 and Python alike): the one grammar for `init` and the served graph."""

from __future__ import annotations

import re

# The part of a date for each of strptime's letters.
DATE_PARTS = {
    "Y": r"(\d{4})",
    "y": r"(\d{2})",
    "m": r"(\d{1,2})",
    "b": r"([A-Za-z]{3})[a-z]*\.?",
    "d": r"(\d{1,2})",
    "H": r"(\d{1,2})",
    "I": r"(\d{1,2})",
    "M": r"(\d{2})",
    "S": r"(\d{2})(?:\.\d+)?",
    "p": r"([AaPp][Mm])",
}
# ISO 8601; time and zone are optional. The zone is ignored: times count as written.
ISO = r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?)?\s*(?:Z|[+-]\d{2}:?\d{2})?"


def date_pattern(form: str | None) -> tuple[str, str]:
    """Return the letters of a format in their order, and a regular expression with a group for each.

    Args:
        form: the format as for strptime; None for ISO 8601.
    """
    if form is None:
        return "YmdHMS", ISO
    pieces = re.split(r"%([A-Za-z])", form.replace("%B", "%b"))
    letters = "".join(pieces[1::2])
    groups = [DATE_PARTS[letter] for letter in letters]
    return letters, "".join(re.escape(piece) + group for piece, group in zip(pieces[::2], [*groups, ""], strict=True))
