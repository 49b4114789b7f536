"""Values in nested mappings and lists, as a YAML holds them, by the keys that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.pipelines.config.strict_yaml import Loc


def at(node: Any, loc: Loc, missing: Any = None) -> Any:
    """Return the value at `loc`, or `missing` if there is none."""
    for key in loc:
        if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
            node = node[int(key)]
        elif isinstance(node, Mapping) and key in node:
            node = node[key]
        else:
            return missing
    return node


def put(node: Any, loc: Loc, value: Any) -> Any:
    """Return a copy of `node` with `value` at `loc`; missing mappings on the path are created.

    Raises:
        ValueError: a value on the path is neither mapping nor list, or a list is too short.
    """
    if not loc:
        return value
    key, rest = loc[0], loc[1:]
    if isinstance(node, list):
        if not key.isdecimal() or int(key) >= len(node):
            raise ValueError(f"no entry {key!r} in a list of {len(node)} (entries count from 0)")
        return [*node[: int(key)], put(node[int(key)], rest, value), *node[int(key) + 1 :]]
    if node is not None and not isinstance(node, dict):
        raise ValueError(f"no key {key!r} in {node!r}, which is not a mapping")
    node = node or {}
    return {**node, key: put(node.get(key), rest, value)}
