"""The files that a data path names. Every reader asks here: `validate`, the content hash, the nodes, the run record."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benison.components.ingest import dvc_pointers
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError
from benison.serving.files import checksum

SPAN = "{SPAN}"  # stands for a span's number in a path


@dataclass(frozen=True)
class DataFile:
    """A file with rows.

    Attributes:
        path: its path.
        pointer: the pointer of DVC that named it; '' if none did.
        md5: the MD5 of its content, as DVC has it; '' without a pointer.
    """

    path: str
    pointer: str = ""
    md5: str = ""


def find(path: str, name: str = "") -> tuple[str, ...]:
    """Return the files that a path or pattern names, sorted.

    A leading part that exists under exactly this name is a name, even if it contains `*`, `?` or `[ ]`. The rest is a
    pattern of Python's `glob`: `**` as a whole part is any number of folders, including none; a name that begins with a
    point must be written out. A file that has several names, because of symbolic links, is returned once. For a pointer
    of DVC, the files that it names are returned; see `dvc_pointers`.

    Args:
        path: an absolute path or pattern.
        name: what messages call it; default: `path`.

    Raises:
        DataError: there are none, this user may not read one of them, or it is not as its pointer says.
    """
    return tuple(file.path for file in contents(path, name))


def contents(path: str, name: str = "") -> tuple[DataFile, ...]:
    """Return the same as `find`, with the pointer of DVC that named a file; arguments and errors as there."""
    files = tuple(file for match in _matches(path, name) for file in _tracked(match))
    _check_readable([file.path for file in files])
    return files


def numbered(path: str) -> list[tuple[int, str]]:
    """Return the files of a path that contains {SPAN}, with the number in place of it, sorted by number.

    The other characters of the path are names. Leading zeros of a number do not count.
    """
    before, _, after = path.partition(SPAN)
    number = re.compile(re.escape(before) + r"0*(\d+)" + re.escape(after))
    files = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")
    return sorted((int(match[1]), file) for file in files if (match := number.fullmatch(file)))


def fingerprint(files: Sequence[str]) -> str:
    """Return a hash of the names and contents of files, in this order.

    Raises:
        OSError: a file cannot be read.
    """
    return of_contents((file, checksum.of_file(Path(file))) for file in files)


def of_contents(contents: Iterable[tuple[str, str]]) -> str:
    """Return the `fingerprint` of files from their paths and the hashes of their contents."""
    digest = hashlib.sha256()
    for file, content in contents:
        digest.update(f"{os.path.basename(file)}\0{content}\0".encode())
    return digest.hexdigest()


def _matches(path: str, name: str) -> list[str]:
    """Return the files that a path or pattern matches, pointers too; see `find`."""
    name = name or path
    if os.path.isfile(path):
        _check_readable([path], name)
        return [path]
    if os.path.isdir(path):
        raise DataError(f"{name} is a folder, expected a file or a pattern such as {name}/*.csv")
    folder, pattern = _split(path)
    if not os.access(folder, os.X_OK):
        raise DataError(f"{name}: the folder {folder} cannot be read: let this user open it")
    if not glob.has_magic(pattern):
        parent = os.path.dirname(path)
        neighbours = os.listdir(parent) if os.path.isdir(parent) else []
        raise DataError(f"no such file: {name}{did_you_mean(os.path.basename(path), neighbours)}")
    matches = (os.path.join(folder, match) for match in glob.glob(pattern, root_dir=folder, recursive=True))
    by_content: dict[str, str] = {}
    for file in sorted(match for match in matches if os.path.isfile(match)):
        by_content.setdefault(os.path.realpath(file), file)
    if not by_content:
        raise DataError(f"no file matches {name}")
    files = list(by_content.values())
    _check_readable(files)
    return files


def _tracked(file: str) -> list[DataFile]:
    if not dvc_pointers.is_pointer(file):
        return [DataFile(file)]
    return [DataFile(tracked.path, tracked.pointer, tracked.md5) for tracked in dvc_pointers.read(file)]


def _check_readable(files: Sequence[str], name: str = "") -> None:
    """Raise DataError if this user may not read one of the files."""
    for file in files:
        if not os.access(file, os.R_OK):
            raise DataError(f"{name or file}: cannot be read: Permission denied; let this user read it")


def _split(path: str) -> tuple[str, str]:
    """Split a path into its longest leading folder that exists, and the rest."""
    folder, pattern = path, ""
    while folder and not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder, part = os.path.split(folder)
        pattern = os.path.join(part, pattern) if pattern else part
    return folder, pattern
