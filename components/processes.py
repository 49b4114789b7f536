"""Processes of this machine: who descends from whom, and ending them all."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
PATIENCE_S = 5.0  # between TERM and KILL
_POLL_S = 0.05


def running() -> list[int]:
    """The ids of all processes."""
    return [int(entry.name) for entry in PROC.glob("[0-9]*")]


def family(pid: int) -> list[int]:
    """The process and all that descend from it, it first."""
    children: dict[int, list[int]] = {}
    for other in running():
        with contextlib.suppress(OSError, ValueError, IndexError):
            children.setdefault(int(_stat(other)[1]), []).append(other)
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def started(pid: int) -> int | None:
    """When a process began (ticks since boot), which tells it from a later one of its id; None if it has ended."""
    try:
        stat = _stat(pid)
    except OSError:
        return None
    return None if stat[0] in "ZX" else int(stat[19])


def end(pids: Iterable[int], patience_s: float = PATIENCE_S) -> None:
    """Ends processes: TERM, a short wait, KILL; returns when they are gone.

    Args:
        pids: of processes that this one may signal; those that ended already are passed over.
        patience_s: seconds between TERM and KILL.
    """
    left = {pid: began for pid in pids if (began := started(pid)) is not None}
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + patience_s
        while left and time.monotonic() < until:
            left = {pid: began for pid, began in left.items() if started(pid) == began}
            time.sleep(_POLL_S if left else 0)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
