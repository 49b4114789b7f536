"""Original column names, such as `sepal length (cm)`, which TensorFlow does not allow as input names of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from benison.serving.server.pages import model_info


@lru_cache(maxsize=64)
def renamed_columns(path: str) -> Mapping[str, str]:
    """Return input names by column name, for the columns whose names differ from the input names; blocks.

    Args:
        path: the version's folder.
    """
    columns = model_info.read_columns(path)
    return {column.name: argument for argument, column in columns.items() if column.name != argument}


def rename_columns(document: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """Return a predict request with the input names of the signature, or None if no name changes; blocks.

    Args:
        document: the request.
        path: the version's folder.
    """
    inputs = renamed_columns(path)
    if not inputs:
        return None
    changed = {key: _rename(document[key], inputs) for key in ("instances", "inputs") if key in document}
    return {**document, **changed} if any(changed[key] != document[key] for key in changed) else None


def _rename(value: Any, inputs: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_rename(row, inputs) if isinstance(row, dict) else row for row in value]
    if isinstance(value, dict):
        return {inputs.get(name, name): content for name, content in value.items()}
    return value
