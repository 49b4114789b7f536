"""Log files of nodes; copy the output of this process and its children to one and to stderr at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MODE = 0o640  # a log may show rows of the data
_tees: set[int] = set()


def open_log(path: Path) -> int:
    """Open a log file to append to, and create it, with its folder, for the owner and the group only.

    Returns:
        The file descriptor.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Copy stdout and stderr to a file, and to the original stderr.

    A separate `tee` process copies, so that no output is lost if this process crashes, and C++ code that prints does
    not wait for Python.

    Args:
        path: the log file; output is appended to it.
    """
    os.close(open_log(path))  # `tee` would let everybody read it
    originals = os.dup(1), os.dup(2)
    # tee ends when the last process that writes to it has ended, even if that one was killed.
    tee = subprocess.Popen(
        ["sh", "-c", 'trap "" INT TERM; exec tee --append "$0"', str(path)],
        stdin=subprocess.PIPE,
        stdout=originals[1],
        stderr=originals[1],
    )
    _tees.add(tee.pid)
    assert tee.stdin is not None
    _flush()
    os.dup2(tee.stdin.fileno(), 1)
    os.dup2(tee.stdin.fileno(), 2)
    tee.stdin.close()
    try:
        yield
    finally:
        _flush()
        for target, saved in zip((1, 2), originals, strict=True):
            os.dup2(saved, target)
            os.close(saved)
        try:
            tee.wait(timeout=1)  # it takes longer only if a child process that is still alive holds the pipe
        except subprocess.TimeoutExpired:
            pass
        else:
            _tees.discard(tee.pid)


def tee_processes() -> frozenset[int]:
    """Return the tee processes. They end when their input ends, so nobody needs to end them."""
    return frozenset(_tees)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
