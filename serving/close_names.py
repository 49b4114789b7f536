"""Suggestions for misspelt names in error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the known name that is most like `name`; None if none is close.

    Args:
        name: The name that the user gave.
        known: The names that exist.
        likeness: From 0 (any name is close) to 1 (only the name itself is).
    """
    names = sorted(known)
    if matches := difflib.get_close_matches(name, names, n=1, cutoff=likeness):
        return matches[0]
    folded = {other.casefold(): other for other in names}  # AGE and age have no letter in common
    return next((folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=likeness)), None)


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return `; did you mean 'deep'?` if a known name is close to `name`, else an empty text.

    Args:
        name: The name that the user gave.
        known: The names that exist.
        likeness: See `closest`.
    """
    match = closest(name, known, likeness)
    return f"; did you mean {match!r}?" if match else ""
