"""Record what the user's code has read, files, folders and environment variables, and compare it later.

`benison.pipelines.code.watching` adds to the record while nodes run.

A value that code has read may stay in its module, where a later node of the same process uses it. So the reads of a
process are never forgotten: the record of a node has all of them.
"""

from __future__ import annotations

import glob
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benison.components import modules
from benison.serving.files import checksum

_DEVICES = ("/dev", "/proc", "/sys")  # no files on a disk


@dataclass
class Reads:
    """Files and variables that the user's code has read so far.

    Attributes:
        paths: files, folders and patterns, absolute; each with its `_state` when it was first read.
        variables: hashes of the values of environment variables by name; None for one that was not set.
        written: files and folders that the process has written itself in this node.
        assigned: environment variables that the process has set itself in this node.
        unknown: why it is not known what was read; '' if it is known.
    """

    paths: dict[str, tuple[int, ...]] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    assigned: set[str] = field(default_factory=set)
    unknown: str = ""

    def begin_node(self) -> None:
        """Forget what an earlier node has written and set: for the next one it is an input."""
        self.written.clear()
        self.assigned.clear()

    def record(self, left_out: Iterable[str]) -> dict[str, Any]:
        """Return what was read with hashes of the content, as plain data.

        Args:
            left_out: folders whose files do not count.
        """
        folders = [os.path.join(_real(folder), "") for folder in (*left_out, *_DEVICES)]
        paths = {path: state for path, state in self.paths.items() if not f"{_real(path)}/".startswith(tuple(folders))}
        hashes = {path: _hash(path) for path in paths}
        changed = [path for path, state in paths.items() if _state(path) != state]
        unknown = self.unknown or (f"{changed[0]} changed while the process ran" if changed else "")
        return {"paths": hashes, "variables": dict(self.variables), "unknown": unknown}

    def add_path(self, path: Any) -> None:
        """Add a file, a folder or a pattern."""
        name = _absolute(path)
        if name is not None and name not in self.paths and not self._is_left_out(name):
            self.paths[name] = _state(name)

    def add_written(self, path: Any) -> None:
        """Add a file or folder that the process makes, unless it is an existing folder, which has files of others."""
        name = _absolute(path)
        if name is not None and not os.path.isdir(name):
            self.written.add(name)

    def add_variable(self, name: str, value: str | None) -> None:
        """Add an environment variable; value None if it is not set."""
        hashed = _hash_value(value)
        if name not in self.assigned and self.variables.setdefault(name, hashed) != hashed:
            self.add_unknown(f"the environment variable {name} had two values")

    def add_unknown(self, reason: str) -> None:
        """Add the reason why it is not known what was read; the first one counts."""
        self.unknown = self.unknown or reason

    def _is_left_out(self, name: str) -> bool:
        path = Path(name)
        return not self.written.isdisjoint({name, *map(str, path.parents)}) or not modules.is_first_party(path)


OF_PROCESS = Reads()
NOTHING: Mapping[str, Any] = {"paths": {}, "variables": {}, "unknown": ""}  # a record


def difference(record: Mapping[str, Any]) -> str:
    """Return how what is there now differs from a record; '' if it does not."""
    if record["unknown"]:
        return str(record["unknown"])
    for path, hashed in record["paths"].items():
        if _hash(path) != hashed:
            return f"{path} changed"
    for name, hashed in record["variables"].items():
        if _hash_value(os.environ.get(name)) != hashed:
            return f"the environment variable {name} changed"
    return ""


def _absolute(path: Any) -> str | None:
    try:
        name = os.fsdecode(path)
    except TypeError:  # a file descriptor
        return None
    return name if "://" in name else os.path.abspath(name)


def _real(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _state(path: str) -> tuple[int, ...]:
    """Return numbers that change with the content of a file or folder; () for a path that does not exist."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return ()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


def _hash(path: str) -> str | None:
    """Return a hash of a file's content, of the names in a folder, or of the paths that match a pattern.

    It is None if the path does not exist, and differs at each call for what cannot be hashed.
    """
    if "://" in path:
        return secrets.token_hex(32)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return checksum.of_text("\0".join(sorted(os.listdir(path))))
        return checksum.of_file(Path(path)) if stat.S_ISREG(mode) else secrets.token_hex(32)
    except (OSError, ValueError):
        return checksum.of_text("\0".join(sorted(glob.glob(path)))) if glob.has_magic(path) else None


def _hash_value(value: str | None) -> str | None:
    return None if value is None else hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
