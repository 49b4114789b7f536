"""Locks on files. The kernel releases a lock when its holder's file is closed, even if the holder is killed."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


@contextmanager
def hold_shared(path: Path) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Hold the lock of a file together with other shared holders.

    Args:
        path: The file, in a folder that exists; created if it is missing.

    Yields:
        A function that returns a context manager: in its block this is the only holder.
    """
    with path.open("a") as file:

        @contextmanager
        def alone() -> Iterator[None]:
            # This gives up the shared lock before it waits, so two that want to be alone do not wait for each other.
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_SH)

        fcntl.flock(file, fcntl.LOCK_SH)
        yield alone


def try_lock(file: IO[str]) -> bool:
    """Lock an open file until it is closed; return False if another holder has its lock."""
    return _try(file, fcntl.LOCK_EX)


def is_locked(path: Path) -> bool:
    """Return True if anyone holds the exclusive lock of a file, which must exist; it need not be writable."""
    with path.open() as file:
        return not _try(file, fcntl.LOCK_SH)  # two that ask at the same time do not see each other


def _try(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
