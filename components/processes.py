"""Processes of this machine: child processes, start times, open files, and how to end several processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

PATIENCE_S = 5.0  # between SIGTERM and SIGKILL
_POLL_S = 0.05
_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def all_ids() -> list[int]:
    """Return the ids of all processes."""
    return psutil.pids()


def process_tree(pid: int) -> list[int]:
    """Return the id of a process, followed by the ids of its children and their children."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    return [pid, *(child.pid for child in children)]


def start_time(pid: int) -> float | None:
    """Return when a process started (seconds since 1970); None if it has ended.

    Ids are used again, so only the id and this time together identify a process.
    """
    try:
        process = psutil.Process(pid)
        return process.create_time() if _is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def terminate(pids: Iterable[int], patience_s: float = PATIENCE_S) -> None:
    """End processes: send SIGTERM, wait, then send SIGKILL; return when they are gone.

    Args:
        pids: Processes that this one may signal; the ones that have already ended are skipped.
        patience_s: Seconds between SIGTERM and SIGKILL.
    """
    remaining = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            remaining.append(psutil.Process(pid))
    # Not psutil.wait_procs: it collects the exit codes of this process's children, and their Popen objects need them.
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(process)
        deadline = time.monotonic() + patience_s
        while (remaining := [process for process in remaining if _is_alive(process)]) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def has_open(pid: int, path: Path) -> bool:
    """Return True if a process has a file open; False if it has ended or belongs to another user."""
    try:
        return any(file.path == str(path) for file in psutil.Process(pid).open_files())
    except (psutil.Error, OSError):
        return False


def environment(pid: int) -> Mapping[str, str]:
    """Return the environment that a process started with; empty if it has ended or belongs to another user."""
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


def _is_alive(process: psutil.Process) -> bool:
    try:
        # `is_running` is True for a zombie, and False if another process has the id now.
        return process.is_running() and process.status() not in _GONE
    except psutil.NoSuchProcess:
        return False
