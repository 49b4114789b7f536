"""Columns by their own names, such as `sepal length (cm)`, which TensorFlow does not take for inputs of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from benison.serving.server.pages import model_info


@lru_cache(maxsize=64)
def renamed_columns(path: str) -> Mapping[str, str]:
    """The inputs by the names of their columns, for the columns of a version that have another one there; blocks.

    Args:
        path: of the version's folder.
    """
    columns = model_info.read_columns(path)
    return {column.name: argument for argument, column in columns.items() if column.name != argument}


def in_signature(document: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """A predict request whose columns are called as in the signature; None where nothing needs another name; blocks.

    Args:
        document: the request.
        path: of the version's folder.
    """
    arguments = renamed_columns(path)
    if not arguments:
        return None
    changed = {key: _renamed(document[key], arguments) for key in ("instances", "inputs") if key in document}
    return {**document, **changed} if any(changed[key] != document[key] for key in changed) else None


def _renamed(value: Any, arguments: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(row, arguments) if isinstance(row, dict) else row for row in value]
    if isinstance(value, dict):
        return {arguments.get(name, name): content for name, content in value.items()}
    return value
