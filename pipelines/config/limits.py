"""The limits of every number and text in a YAML, beside those of single keys.

Without them a value may be valid here and end a program that gets it later: Airflow's messages hold integers of 64
bits, browsers know integers up to `LARGEST` only, and a process takes arguments of 128 KiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from benison.pipelines.config.types import is_number

LARGEST = 2**53 - 1  # the largest integer that JSON keeps exactly
LONGEST = 4096  # characters; an escaped character takes up to 12 bytes of an argument
_HALF = re.compile("[\ud800-\udfff]")
# What pydantic writes for the bounds of a type that is an integer or a number.
_NOT_JSON_SCHEMA = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_BOUNDS = {"maximum": ("exclusiveMaximum", LARGEST), "minimum": ("exclusiveMinimum", -LARGEST)}


def beyond_limits(raw: Any, loc: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str, Any]]:
    """Yield the values of an unchecked config that are beyond the limits: the place, a message, and the value.

    Args:
        raw: the config, or a part of it.
        loc: the place of the part.
    """
    if isinstance(raw, str) and len(raw) > LONGEST:
        yield loc, f"got text of {len(raw)} characters, expected at most {LONGEST}", raw
    elif isinstance(raw, str) and (half := _HALF.search(raw)):  # no encoding has it, so no file could hold the config
        yield loc, f"got \\u{ord(half[0]):04x}, which is half of a character; write the whole character", ascii(raw)
    elif is_number(raw) and abs(raw) > LARGEST and abs(raw) != inf:  # each key refuses infinity itself
        yield loc, f"got {_shortened(raw)}, expected a number from {-LARGEST} to {LARGEST}", raw
    elif isinstance(raw, Mapping):
        for key, value in raw.items():
            if isinstance(key, str) and len(key) > LONGEST:
                yield (*loc, key[:40] + "…"), f"got a key of {len(key)} characters, expected at most {LONGEST}", key
            else:
                yield from beyond_limits(value, (*loc, key if isinstance(key, int) else str(key)))
    elif isinstance(raw, (list, tuple)):
        for index, value in enumerate(raw):
            yield from beyond_limits(value, (*loc, index))


def with_limits(schema: Any) -> Any:
    """Return a JSON schema in which each number has a maximum and a minimum, and each text a maximum length."""
    if isinstance(schema, list):
        return [with_limits(part) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    limited = {key: value if key in ("default", "enum") else with_limits(value) for key, value in schema.items()}
    if "anyOf" in limited:
        limited = {_NOT_JSON_SCHEMA.get(key, key): value for key, value in limited.items()}
    types = limited.get("type")
    if not isinstance(types, (str, list)):  # no schema, or one of a key that is called `type`
        return limited
    types = {types} if isinstance(types, str) else set(types)
    if types & {"integer", "number"}:
        limited |= {
            bound: limit
            for bound, (exclusive, limit) in _BOUNDS.items()
            if bound not in limited and exclusive not in limited
        }
    if "string" in types and not {"enum", "const", "maxLength"} & set(limited):
        limited["maxLength"] = LONGEST
    return limited


def _shortened(number: float) -> str:
    text = str(number)
    return text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
