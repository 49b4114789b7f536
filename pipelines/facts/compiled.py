"""Read the compiled pipeline of a run: the parameters of its nodes, and what differs from those of another run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = "pipeline.json"
# What follows from other parameters or files, and says nothing to a reader.
_NOT_SHOWN = frozenset({"user_code", "module_path", "input_fingerprint", "hashes", "made_from"})
_ABSENT = object()


def parameters(run: Path) -> dict[str, dict[str, Any]]:
    """Return the parameters of each node of a run, with values that are JSON as what they mean.

    Args:
        run: the run's folder.

    Returns:
        By node id and parameter; empty if the run ended before its pipeline was compiled.
    """
    try:
        compiled = json.loads((run / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    result: dict[str, dict[str, Any]] = {}
    for entry in compiled.get("nodes", []):
        node = entry.get("pipelineNode")
        if node:
            values = node.get("parameters", {}).get("parameters", {})
            result[node["nodeInfo"]["id"]] = {name: _value(value) for name, value in values.items()}
    return result


def _value(parameter: Mapping[str, Any]) -> Any:
    field = parameter.get("fieldValue") or {}
    if "stringValue" in field:
        text = field["stringValue"]
        if text[:1] in ("{", "["):
            try:
                return json.loads(text)
            except ValueError:
                return text
        return text
    if "intValue" in field:
        return int(field["intValue"])
    return field.get("doubleValue", parameter.get("runtimeParameter"))


@dataclass(frozen=True)
class Change:
    """A parameter that differs: its dotted name from the node on, and both values as text; '' if there is none."""

    name: str
    before: str
    now: str


def changes(before: Path, now: Path) -> list[Change]:
    """Return the parameters that differ between two runs of a pipeline.

    Args:
        before: the folder of the earlier run.
        now: the folder of the later run.
    """
    found = _differences(parameters(before), parameters(now), "")
    return [Change(name, _text(old), _text(new)) for name, old, new in found]


def _differences(before: Any, now: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            if key not in _NOT_SHOWN:
                inner = f"{name}.{key}" if name else str(key)
                yield from _differences(before.get(key, _ABSENT), now.get(key, _ABSENT), inner)
    elif before is not now and before != now:
        yield name, before, now


def _text(value: Any) -> str:
    if value is _ABSENT:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if re.fullmatch(r"[0-9a-f]{64}", text):
        return f"{text[:12]}…"
    return text if len(text) <= 300 else f"{text[:300]}…"
