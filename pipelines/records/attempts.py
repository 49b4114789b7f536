"""Attempts at a node of a run: only one attempt writes at a time, and the newest one wins.

An attempt holds a lock file in the run's folder and sets a mark in its environment, which its child processes inherit.
A later attempt ends every process on this machine that has the lock file open or carries the mark. So it also ends the
children of an attempt that was killed. It waits for an attempt on another machine.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benison.components import processes
from benison.serving.files import file_lock

MARK = "BENISON_ATTEMPT"
_POLL_S = 0.5


@contextmanager
def sole_attempt(folder: Path, node_id: str) -> Iterator[None]:
    """Hold a node's lock, so that this is the only attempt at the node; end earlier attempts first.

    Args:
        folder: the run's folder, ROOT/runs/RUN.
        node_id: the node's id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{node_id}.attempt"
    with path.open("a") as file:
        reported = False
        earlier = _earlier(path)
        while True:
            if earlier:
                print(f"{node_id}: ending an earlier attempt, process {', '.join(map(str, earlier))}", file=sys.stderr)
                processes.terminate(earlier)
            if file_lock.try_lock(file):
                break
            earlier = _earlier(path)
            if not earlier and not reported:
                print(f"{node_id}: waiting for an attempt on another machine", file=sys.stderr, flush=True)
                reported = True
            time.sleep(_POLL_S)
        os.environ[MARK] = str(path)
        try:
            yield
        finally:
            del os.environ[MARK]


def any_under_way(folder: Path) -> bool:
    """Return True while an attempt at any node of a run is under way."""
    return any(file_lock.is_locked(path) for path in folder.glob(".*.attempt"))


def is_under_way(folder: Path, node_id: str) -> bool:
    """Return True while an attempt at this node is under way."""
    path = folder / f".{node_id}.attempt"
    return path.exists() and file_lock.is_locked(path)


def _earlier(path: Path) -> list[int]:
    """Return the processes of earlier attempts on this machine, with their child processes."""
    me = os.getpid()
    began = (processes.start_time(me) or 0, me)
    earlier: dict[int, None] = {}
    for pid in processes.all_ids():
        start = processes.start_time(pid)
        if start is not None and (start, pid) < began and _belongs_to_attempt(pid, path):
            earlier |= dict.fromkeys(processes.process_tree(pid))
    return [pid for pid in earlier if pid != me]


def _belongs_to_attempt(pid: int, path: Path) -> bool:
    return processes.has_open(pid, path) or processes.environment(pid).get(MARK) == str(path)
