"""Guess the positive class of a binary label, for `benison init`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benison.components.label_classes import named_positive, same_class

_SHORTEST = 3  # letters of a class name that is looked for in the label's name


def guess(label: str, classes: Sequence[str], counts: Mapping[str, int]) -> tuple[str, str]:
    """Return the positive class, and why it is.

    Args:
        label: name of the label.
        classes: the two classes, sorted.
        counts: rows by class.
    """
    if word := named_positive(classes):
        return word, "by its name"
    if same_class("1", classes[1]) and any(same_class(other, classes[0]) for other in ("0", "-1")):
        return classes[1], f"{classes[1]} of {classes[0]} and {classes[1]}"
    if event := _event(label, classes):
        return event, f"it is the event that the label {label!r} names"
    rarer = min(reversed(classes), key=lambda name: counts[name])
    return rarer, f"the rarer one: {counts[rarer]} of {sum(counts[name] for name in classes)} rows"


def _event(label: str, classes: Sequence[str]) -> str | None:
    """Return the only class whose name is in the label's name, or the other way round; None if there is none."""
    name, events = _letters(label), []
    for candidate in classes:
        letters = _letters(candidate)
        if min(len(letters), len(name)) >= _SHORTEST and (letters in name or letters.startswith(name)):
            events.append(candidate)
    return events[0] if len(events) == 1 else None


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())
