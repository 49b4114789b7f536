"""Groups of features: networks, trees and foreign models see other features of the same columns.

A preprocessing_fn returns the features of networks and, beside them, the dict `trees`. Foreign models get raw columns.
In Transform's output all features are in one dict, and those of a group have its name as a prefix: `trees/numbers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

DENSE, TREES, FOREIGN = "", "trees", "foreign"
_NAMES_FILE = "feature_columns.json"  # beside Transform's graph: names of the columns of features [batch, n]
_NAMES = "benison_names"  # attribute of a feature with such names
_SEPARATOR = "/"

T = TypeVar("T")


def flat(group: str, features: Mapping[str, T]) -> dict[str, T]:
    """Return the features of a group by their names in Transform's output."""
    return {f"{group}{_SEPARATOR}{name}" if group else name: value for name, value in features.items()}


def select(group: str, features: Mapping[str, T]) -> dict[str, T]:
    """Return the features of a group, by their own names, from those of Transform's output."""
    if group == DENSE:
        return {name: value for name, value in features.items() if not reserved(name)}
    prefix = f"{group}{_SEPARATOR}"
    return {name.removeprefix(prefix): value for name, value in features.items() if name.startswith(prefix)}


def reserved(name: str) -> bool:
    """Return True if the name of a feature for networks would be that of another group."""
    return name.startswith((f"{TREES}{_SEPARATOR}", f"{FOREIGN}{_SEPARATOR}"))


def named(values: Any, names: Sequence[str]) -> Any:
    """Give a feature [batch, n] the names of its columns, for messages and importances."""
    setattr(values, _NAMES, list(names))
    return values


def write_names(features: Mapping[str, Any], folder: str) -> None:
    """Write the names of the columns of all features that have names.

    Args:
        features: features by their names in Transform's output.
        folder: the folder of Transform's graph.
    """
    names = {name: getattr(values, _NAMES) for name, values in features.items() if hasattr(values, _NAMES)}
    if names:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, _NAMES_FILE).write_text(json.dumps(names, ensure_ascii=False) + "\n", encoding="utf-8")


def read_names(group: str, folder: str) -> dict[str, list[str]]:
    """Return the names of the columns of a group's features, for the features that have such names."""
    file = Path(folder, _NAMES_FILE)
    return select(group, json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
