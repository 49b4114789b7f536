"""Record what the user's code reads while nodes run: files, folders and environment variables.

An audit hook sees Python's `open`, `os.listdir` and `os.scandir`; wrappers see `os.environ` and the file functions of
TensorFlow. A read counts if code of the user is on the stack. Left out are installed packages, Python itself,
artifacts, and what the node wrote itself.

A value that code has read may stay in its module, where a later node of the same process uses it. So the reads of a
process are never forgotten: the record of a node has all of them.
"""

from __future__ import annotations

import contextlib
import functools
import gettext
import glob
import hashlib
import linecache
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from benison.components import modules
from benison.pipelines.code import private_tensorflow
from benison.serving.files import checksum

_Owner = Literal["user", "importer", "gettext", "tensorflow", "library", "python"]
_TERMINAL = frozenset({"COLUMNS", "LINES"})  # variables that do not count
_DEVICES = ("/dev", "/proc", "/sys")  # what is there is not kept on a disk
_USERS_MODULES = "benison.components.user_code."  # the names under which `user_code` imports users' files


@dataclass
class Reads:
    """Files and variables that the user's code has read so far.

    Attributes:
        paths: files, folders and patterns, absolute; each with what `os.stat` said when it was read first.
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

    def record(self, left_out: Iterable[str]) -> dict[str, Any]:
        """Return what was read with hashes of the content, as plain data.

        Args:
            left_out: folders whose files do not count.
        """
        folders = [os.path.join(_real(folder), "") for folder in (*left_out, *_DEVICES)]
        paths = {path: seen for path, seen in self.paths.items() if not f"{_real(path)}/".startswith(tuple(folders))}
        hashes = {path: _hash(path) for path in paths}
        changed = [path for path, seen in paths.items() if _stat(path) != seen]
        unknown = self.unknown or (f"{changed[0]} changed while the process ran" if changed else "")
        return {"paths": hashes, "variables": dict(self.variables), "unknown": unknown}

    def add_path(self, path: Any) -> None:
        """Add a file, a folder or a pattern."""
        name = _absolute(path)
        if name is not None and name not in self.paths and not self._is_left_out(name):
            self.paths[name] = _stat(name)

    def add_written(self, path: Any) -> None:
        """Add a file or folder that the process makes, unless it is a folder that exists: it has files of others."""
        name = _absolute(path)
        if name is not None and not os.path.isdir(name):
            self.written.add(name)

    def add_variable(self, name: str, value: str | None) -> None:
        """Add an environment variable; value None if it is not set."""
        hashed = _hash_value(value)
        if name not in self.assigned and self.variables.setdefault(name, hashed) != hashed:
            self.unknown = self.unknown or f"the environment variable {name} had two values"

    def _is_left_out(self, name: str) -> bool:
        path = Path(name)
        return not self.written.isdisjoint({name, *map(str, path.parents)}) or not modules.is_first_party(path)


OF_PROCESS = Reads()
NOTHING: Mapping[str, Any] = {"paths": {}, "variables": {}, "unknown": ""}  # a record
_active: Reads | None = None
_outermost: FrameType | None = None  # the frame that watches; its callers, such as a notebook's cell, do not count


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Add what the user's code reads in the block to `OF_PROCESS`; what calls the block reads nothing."""
    global _active, _outermost
    _watch_python()
    if "tensorflow" in sys.modules:
        _watch_tensorflow()
    outer = _active, _outermost
    _active, _outermost = OF_PROCESS, sys._getframe(2)
    OF_PROCESS.written.clear()
    OF_PROCESS.assigned.clear()
    try:
        yield
    finally:
        _active, _outermost = outer


def difference(record: Mapping[str, Any]) -> str:
    """Return what is no longer as a record says; '' if everything is."""
    if record["unknown"]:
        return str(record["unknown"])
    for path, hashed in record["paths"].items():
        if _hash(path) != hashed:
            return f"{path} changed"
    for name, hashed in record["variables"].items():
        if _hash_value(os.environ.get(name)) != hashed:
            return f"the environment variable {name} changed"
    return ""


# --------------------------------------------------------------------------------------------------- states and hashes


def _absolute(path: Any) -> str | None:
    try:
        name = os.fsdecode(path)
    except TypeError:  # a file descriptor
        return None
    return name if "://" in name else os.path.abspath(name)


def _real(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)


def _stat(path: str) -> tuple[int, ...]:
    """Return facts that change with the content; () for a path that does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _hash(path: str) -> str | None:
    """Return a hash of a file's content, of the names in a folder, or of the paths that match a pattern.

    It is None if nothing is there, and another one at each call for what this cannot hash.
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


# ---------------------------------------------------------------------------------------------------------- the stack


def _user_reads(*ignored: _Owner) -> bool:
    """Return True if code of the user is on the stack, before code of an ignored owner."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not _outermost:
        owner = _owner(frame)
        if owner == "user":
            return True
        if owner in ignored:
            return False
        frame = frame.f_back
    return False


def _owner(frame: FrameType) -> _Owner:
    name = frame.f_globals.get("__name__") or ""
    # The function counts, not where it is written: AutoGraph writes a copy of it into a temporary file.
    file = frame.f_globals.get("__file__") or frame.f_code.co_filename
    if file.startswith("<frozen importlib") or frame.f_code.co_filename.startswith("<frozen importlib"):
        return "python" if frame.f_code.co_name == "get_data" else "importer"  # pkgutil.get_data reads a user's file
    return _owner_of(str(name), str(file))


@functools.cache
def _owner_of(name: str, file: str) -> _Owner:
    if name in (__name__, private_tensorflow.__name__):
        return "python"
    if name == "benison.components.user_code" or file == linecache.__file__:  # this reads code too, such as AutoGraph's
        return "importer"
    if file == gettext.__file__:
        return "gettext"
    if name.startswith("benison.") and not name.startswith(_USERS_MODULES):
        return "library"
    if modules.is_first_party(Path(os.path.abspath(file))):
        return "python" if file.startswith("<") and name.partition(".")[0] in sys.stdlib_module_names else "user"
    if name.partition(".")[0] in ("tensorflow", "keras", "tf_keras"):
        return "tensorflow"
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return "library" if installed else "python"


# ------------------------------------------------------------------------------------------------------------- Python


@functools.cache
def _watch_python() -> None:
    """Install the hook and the wrapper, which stay for the life of the process."""
    sys.addaudithook(_hear)

    def get(environ: Any, key: Any) -> Any:
        reads = _active
        # argparse, of which Beam's options have hundreds, asks for the language and for the size of the terminal.
        if reads is None or key in _TERMINAL or not _user_reads("importer", "gettext", "tensorflow"):
            return original(environ, key)
        try:
            value = original(environ, key)
        except KeyError:
            reads.add_variable(os.fsdecode(key), None)
            raise
        reads.add_variable(os.fsdecode(key), os.fsdecode(value))
        return value

    original = type(os.environ).__getitem__
    type(os.environ).__getitem__ = get  # type: ignore[method-assign]


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Add what an audit event says; see Python's table of audit events."""
    reads = _active
    if reads is None or event not in _EVENTS:
        return
    if event == "open":
        path, _, flags = arguments
        if not flags & (os.O_WRONLY | os.O_CREAT):  # also what is open for both
            if _user_reads("importer"):
                reads.add_path(path)
        else:
            reads.add_written(path)
    elif event == "os.rename":
        reads.add_written(arguments[1])
    elif event == "os.mkdir":
        reads.add_written(arguments[0])
    elif event == "os.putenv":
        reads.assigned.add(os.fsdecode(arguments[0]))
    elif _user_reads("importer"):
        reads.add_path("." if arguments[0] is None else arguments[0])


_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "os.rename", "os.mkdir", "os.putenv"})


# --------------------------------------------------------------------------------------------------------- TensorFlow


@functools.cache
def _watch_tensorflow() -> None:
    """Install the wrappers, which stay for the life of the process."""
    private_tensorflow.watch(private_tensorflow.Listener(_counts_now, _tensorflow_reads, _tensorflow_writes))


def _counts_now() -> bool:
    return _active is not None and _user_reads("importer")


def _tensorflow_reads(names: Sequence[Any] | None) -> None:
    """Add files that TensorFlow is told to read; None if their names are known only inside a graph."""
    if _active is None:
        return
    for name in names or ():
        _active.add_path(name)
    if names is None and _user_reads("importer", "library"):  # a library reads what it was told before
        _active.unknown = _active.unknown or "code of the user reads files whose names are known only inside a graph"


def _tensorflow_writes(path: Any) -> None:
    if _active is not None:
        _active.add_written(path)
