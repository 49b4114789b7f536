"""Watch what the user's code reads while nodes run, and add it to `benison.pipelines.code.reads`.

An audit hook sees Python's `open`, `os.listdir` and `os.scandir`; wrappers see `os.environ` and the file functions of
TensorFlow. A read counts if code of the user is on the stack. Left out are installed packages, Python itself, and what
the node wrote itself.
"""

from __future__ import annotations

import contextlib
import functools
import gettext
import linecache
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from benison.components import modules
from benison.pipelines.code import private_tensorflow, reads

_Owner = Literal["user", "importer", "gettext", "tensorflow", "library", "python"]
# Variables that do not count: the terminal's size, and the folder for temporary files, which is the run's own.
_NO_READS = frozenset({"COLUMNS", "LINES", "TMPDIR"})
_USERS_MODULES = "benison.components.user_code."  # the names under which `user_code` imports users' files
_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "os.rename", "os.mkdir", "os.putenv"})
# The frame that watches, if one does. Its callers, such as a notebook's cell, do not count.
_watcher: FrameType | None = None


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Add what the user's code reads in the block to `reads.OF_PROCESS`; what calls the block reads nothing."""
    global _watcher
    _watch_python()
    if "tensorflow" in sys.modules:
        _watch_tensorflow()
    outer, _watcher = _watcher, sys._getframe(2)
    reads.OF_PROCESS.begin_node()
    try:
        yield
    finally:
        _watcher = outer


@functools.cache
def _watch_python() -> None:
    """Install the hook and the wrapper, which stay for the life of the process."""
    sys.addaudithook(_on_event)

    def get(environ: Any, key: Any) -> Any:
        # argparse, of which Beam's options have hundreds, asks for the language and for the size of the terminal.
        if _watcher is None or key in _NO_READS or not _user_reads("importer", "gettext", "tensorflow"):
            return original(environ, key)
        try:
            value = original(environ, key)
        except KeyError:
            reads.OF_PROCESS.add_variable(os.fsdecode(key), None)
            raise
        reads.OF_PROCESS.add_variable(os.fsdecode(key), os.fsdecode(value))
        return value

    original = type(os.environ).__getitem__
    type(os.environ).__getitem__ = get  # type: ignore[method-assign]


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    """Add what an audit event reports; see Python's table of audit events."""
    if _watcher is None or event not in _EVENTS:
        return
    record = reads.OF_PROCESS
    if event == "open":
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_CREAT):
            record.add_written(path)
        elif _user_reads("importer"):
            record.add_path(path)
    elif event == "os.rename":
        record.add_written(arguments[1])
    elif event == "os.mkdir":
        record.add_written(arguments[0])
    elif event == "os.putenv":
        record.assigned.add(os.fsdecode(arguments[0]))
    elif _user_reads("importer"):
        record.add_path("." if arguments[0] is None else arguments[0])


@functools.cache
def _watch_tensorflow() -> None:
    """Install the wrappers, which stay for the life of the process."""
    private_tensorflow.watch(_tensorflow_reads, _tensorflow_writes)


def _tensorflow_reads(names: private_tensorflow.Names) -> None:
    if _watcher is None or not _user_reads("importer"):
        return
    paths = names()
    for path in paths or ():
        reads.OF_PROCESS.add_path(path)
    if paths is None and _user_reads("importer", "library"):  # a library reads files whose names it got before
        reads.OF_PROCESS.add_unknown("code of the user reads files whose names are known only inside a graph")


def _tensorflow_writes(path: Any) -> None:
    if _watcher is not None:
        reads.OF_PROCESS.add_written(path)


def _user_reads(*ignored: _Owner) -> bool:
    """Return True if code of the user is on the stack of the caller's caller, before code of an ignored owner."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame is not _watcher:
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
    if name == private_tensorflow.__name__:
        return "python"
    # Two read code, such as AutoGraph's, for Python; this module looks for the files that a pattern means.
    if name in ("benison.components.user_code", __name__) or file == linecache.__file__:
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
