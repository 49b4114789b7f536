"""Failures of the machine, such as a full disk, in one line: the path, what is wrong, and what to do."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DISK = "free space on its disk, or use another disk"
_CONNECTION = "its disk, or the connection to it, does not work"
# Errors that no code can cause, and what to do.
_MACHINE = {
    errno.ENOSPC: _DISK,
    errno.EDQUOT: _DISK,
    errno.EROFS: "make its file system writable, or use another folder",
    errno.EIO: _CONNECTION,
    errno.ESTALE: _CONNECTION,
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit of open files",
}
_REMEDIES = {
    **_MACHINE,
    errno.EACCES: "give this user the permission, or use another path",
    errno.EPERM: "give this user the permission, or use another path",
    errno.ENOENT: "it was removed, or its disk is not mounted",
    errno.ENOTDIR: "a part of the path is a file; use another path",
    errno.ENAMETOOLONG: "use shorter names",
}
# In the words of the system, and of SQLite.
_WORDS = {os.strerror(number): number for number in _MACHINE} | {"database or disk is full": errno.ENOSPC}
_TEXT = re.compile("|".join(map(re.escape, _WORDS)))
_PATH = re.compile(r"(?<![\w/])/[^\s;:'\"]+")


def in_one_line(error: OSError) -> str:
    """Return the path that an error is about, what is wrong, and what to do."""
    if _is_list(error):
        _, path, text = error.args[0][0]
        return _machine_failure(str(text)) or f"{os.fsdecode(path)}: {text}"
    path = error.filename
    where = f"{os.fsdecode(path)}: " if isinstance(path, (str, bytes, os.PathLike)) else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {remedy}" if remedy else "")


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Name a path in an error of a full disk and the like, which names no file.

    Args:
        path: the file or folder that is written to.

    Raises:
        OSError: the error, with a path.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _MACHINE or error.filename:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def machine_failure(error: BaseException) -> str:
    """Return the line for an error that a failure of the machine has caused; '' for another error.

    The errors of TensorFlow, Beam and SQLite tell it only in their text.
    """
    for cause in _causes(error):
        if isinstance(cause, OSError) and (cause.errno in _MACHINE or _is_list(cause)):
            return in_one_line(cause)
        if line := _machine_failure(str(cause)):
            return line
    return ""


def _is_list(error: OSError) -> bool:
    """Return True for the error of `shutil.copytree`, which is a list of source, target and reason."""
    return isinstance(error, shutil.Error) and isinstance(error.args[0], list)


def _machine_failure(text: str) -> str:
    words = _TEXT.search(text)
    if words is None:
        return ""
    path = _PATH.search(text)
    return (f"{path[0]}: " if path else "") + f"{words[0]}; {_MACHINE[_WORDS[words[0]]]}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
