"""A log file beside a live stderr: what this process and its children print reaches both."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_tees: set[int] = set()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Writes stdout and stderr to a file and to stderr as it is.

    A process does the copying, so that nothing is lost where this one crashes, and nothing waits for this one's
    interpreter while C++ prints.

    Args:
        path: is appended to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    # It ends when the last process that prints has ended, however that one was ended.
    tee = subprocess.Popen(
        ["sh", "-c", 'trap "" INT TERM; exec tee --append "$0"', str(path)],
        stdin=subprocess.PIPE,
        stdout=kept[1],
        stderr=kept[1],
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
        for target, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, target)
            os.close(saved)
        try:
            tee.wait(timeout=1)  # longer only where a child that outlives this still prints
        except subprocess.TimeoutExpired:
            pass
        else:
            _tees.discard(tee.pid)


def copiers() -> frozenset[int]:
    """The processes that copy, which end by themselves."""
    return frozenset(_tees)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
