"""Processes of this machine: child processes, start times, open files, and how to end several processes.

A process that is killed cannot end its children. So Linux ends those that asked for it (`end_with_parent`,
`ending_with_this_process`), and hands the others to the nearest process that called `adopt_orphans`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

PATIENCE_S = 5.0  # between SIGTERM and SIGKILL
_POLL_S = 0.05
_ROUNDS = 5
_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
# Becomes a command that Linux kills when the process with this id ends. If that one ended before, it ends at once.
_LEASH = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl({_PR_SET_PDEATHSIG}, {int(signal.SIGKILL)}, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


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


def end_with_parent(number: int) -> None:
    """Let Linux send this process a signal when its parent ends, even if the parent is killed.

    The parent is the thread that started this process. Programs that this process starts do not inherit the setting.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def ending_with_this_process(command: Sequence[str]) -> list[str]:
    """Return a command that runs another one and that Linux kills when the thread that starts it ends.

    This is a program in between, because a function that runs between fork and exec is not safe in a process that has
    threads, such as TensorFlow's.
    """
    return [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command]


def adopt_orphans() -> None:
    """Let Linux make this process the parent of its descendants whose own parent has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(patience_s: float = PATIENCE_S) -> None:
    """End all descendants of this process, which adopts orphans: SIGTERM, a wait, SIGKILL; then collect the dead.

    Args:
        patience_s: Seconds between SIGTERM and SIGKILL.
    """
    for _ in range(_ROUNDS):  # one that ends may have started another process just before
        living = [pid for pid in process_tree(os.getpid())[1:] if start_time(pid) is not None]
        if not living:
            break
        terminate(living, patience_s)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def started_with(name: str, value: str) -> list[int]:
    """Return the other processes that started with this value of an environment variable."""
    return [pid for pid in all_ids() if pid != os.getpid() and environment(pid).get(name) == value]


def has_open(pid: int, path: Path) -> bool:
    """Return True if a process has a file open; False if it has ended or belongs to another user."""
    try:
        return any(file.path == str(path) for file in psutil.Process(pid).open_files())
    except (psutil.Error, OSError):
        return False


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used; 0 if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


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
