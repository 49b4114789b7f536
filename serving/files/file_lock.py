"""Locks on files. The kernel releases a lock when its holder's file is closed, even if the holder is killed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def hold(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file; wait until no other holder is in the way.

    Args:
        path: The file, in a folder that exists; created if it is missing.
        shared: Hold it together with other shared holders, but not with an exclusive one.
    """
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def try_lock(file: IO[str]) -> bool:
    """Lock an open file until it is closed; return False if another holder has its lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Return True if anyone holds the lock of a file."""
    with path.open("a") as file:
        return not try_lock(file)
