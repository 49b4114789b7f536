"""What the user may have meant: the end of a message about a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """`; did you mean 'deep'?` where a known name is close to `name`, else nothing.

    Args:
        name: what was given.
        known: what there is.
        likeness: from 0 (anything is close) to 1 (nothing but the name itself).
    """
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return f"; did you mean {close[0]!r}?" if close else ""
