"""Plain data, as JSON has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in a value, itself included, at any depth; each before those in it."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from mappings(inner)
