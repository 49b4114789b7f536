"""Hyperparameters that record which of their values a user's function reads, so that a misspelt name is noticed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any

from benison.components import user_code
from benison.serving.close_names import did_you_mean


class Recorded(dict[str, Any]):
    """The values of hyperparameters, which records the names that are read."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict.get`."""
        self._read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._read.update(super().keys())
        return super().__iter__()

    def keys(self) -> Any:
        """See `dict.keys`."""
        self._read.update(super().keys())
        return super().keys()

    def items(self) -> Any:
        """See `dict.items`."""
        self._read.update(super().keys())
        return super().items()

    def copy(self) -> dict[str, Any]:
        """See `dict.copy`."""
        return dict(self.items())


def recorded(hp: Any, read: set[str]) -> Any:
    """Return a copy of KerasTuner's HyperParameters that adds the names that are read to `read`."""
    recording = copy(hp)
    recording.values = Recorded(hp.values, read)
    return recording


def unread_faults(names: Iterable[str], read: set[str], function: str, known: Iterable[str] = ()) -> list[str]:
    """Return a fault for each hyperparameter that a user's function never read."""
    unread = [name for name in sorted(set(names) - read) if not _is_written(name, function)]
    close = sorted({*read, *known})
    return [f"never reads the hyperparameter {name!r}{did_you_mean(name, close)}" for name in unread]


def _is_written(name: str, function: str) -> bool:
    """Return True if the user's files contain the name as text: another branch of the code may read it."""
    code = getattr(user_code.load(function), "__code__", None)
    if code is None:
        return True
    return any(name in _texts(file) for file in Path(code.co_filename).parent.glob("*.py"))


def _texts(file: Path) -> Iterable[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return ()
    return {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
