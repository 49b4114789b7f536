"""Files that survive a crash: written to disk before anyone relies on them, replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benison.serving.files import system_errors


def write(path: Path, text: str) -> None:
    """Replace a text file by one rename, so that readers see the old or the new content, also after a crash.

    Args:
        path: The file, in a folder that exists.
        text: The whole content, written as UTF-8.

    Raises:
        OSError: The file cannot be written; its old content is kept.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with system_errors.about(path), os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # mkstemp allows the owner only; a server may be another user
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_synced(path: Path, text: str) -> None:
    """Write a text file as UTF-8 and wait until it is on disk; a crash may leave a part of it.

    Args:
        path: The file, in a folder that exists.
        text: The whole content.
    """
    with system_errors.about(path), path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on disk.

    Without this, a rename may reach the disk before the data that it makes visible.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
