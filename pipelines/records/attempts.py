"""Attempts at a node of a run: one at a time writes, and the newest one wins.

An attempt holds a lock in the run's folder and marks its environment, which what it starts inherits. A later attempt
ends whatever on this machine has that lock's file open or carries the mark, also where the attempt itself was killed
and only its children are left; an attempt on another machine it waits for.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benison.components import processes

MARK = "BENISON_ATTEMPT"
_POLL_S = 0.5


@contextmanager
def sole_attempt(folder: Path, node_id: str) -> Iterator[None]:
    """The only attempt at a node of a run that is under way.

    Args:
        folder: the run's, ROOT/runs/RUN.
        node_id: the node's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{node_id}.attempt"
    with path.open("a") as file:
        told = False
        earlier = _earlier(path)
        while True:
            if earlier:
                print(f"{node_id}: ends an earlier attempt, process {', '.join(map(str, earlier))}", file=sys.stderr)
                processes.end(earlier)
            if _locked(file):
                break
            earlier = _earlier(path)
            if not earlier and not told:
                print(f"{node_id}: waits for an attempt on another machine", file=sys.stderr, flush=True)
                told = True
            time.sleep(_POLL_S)
        os.environ[MARK] = str(path)
        try:
            yield
        finally:
            del os.environ[MARK]


def under_way(folder: Path) -> bool:
    """Whether an attempt at any node of a run is under way."""
    return any(_is_locked(path) for path in folder.glob(".*.attempt"))


def is_under_way(folder: Path, node_id: str) -> bool:
    """Whether an attempt at this node is under way."""
    path = folder / f".{node_id}.attempt"
    return path.exists() and _is_locked(path)


def _earlier(path: Path) -> list[int]:
    """The processes of earlier attempts on this machine, with what they started."""
    me = os.getpid()
    began = (processes.started(me) or 0, me)
    mark = f"{MARK}={path}".encode()
    found: dict[int, None] = {}
    for pid in processes.running():
        start = processes.started(pid)
        if start is not None and (start, pid) < began and (_opens(pid, path) or mark in _environment(pid)):
            found |= dict.fromkeys(processes.family(pid))
    return [pid for pid in found if pid != me]


def _opens(pid: int, path: Path) -> bool:
    try:
        return any(os.readlink(entry) == str(path) for entry in (processes.PROC / str(pid) / "fd").iterdir())
    except OSError:  # it ended, or is another user's
        return False


def _environment(pid: int) -> list[bytes]:
    try:
        return (processes.PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    with path.open("a") as file:
        return not _locked(file)
