"""Text files that are replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Writes a file by one rename: whoever reads it sees the old one or the new one, and after a crash, too.

    Args:
        path: in a folder that is there.
        text: the whole content, written as UTF-8.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # a temporary file is for its owner alone, and a server may be another user
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
