"""Run a command and end all its descendants, even if the caller is killed. Standard library, Linux.

    python -I benison_guard.py SECONDS COMMAND [ARGUMENT...]

The command runs in its own session. When the command ends, or stdin is closed, or SIGTERM arrives, all remaining
descendants get SIGTERM, SECONDS to end, then SIGKILL. Stdin is a pipe that the caller holds open, so it is closed when
the caller ends, even if the caller is killed.

The guard also finds descendants that have left the process group and whose parent has died: it asks the kernel to make
such orphans its own children (PR_SET_CHILD_SUBREAPER), so all of them are in the process tree below it.

The exit code is the command's, or 128 + the number of the signal that ended it, as in a shell.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_SUBREAPER, _DEATH_SIGNAL = 36, 1  # linux/prctl.h
_POLL = 0.1  # seconds between two checks for remaining processes


def guard(patience: float, command: list[str]) -> int:
    """Run the command until it or the caller ends.

    Args:
        patience: seconds between SIGTERM and SIGKILL.
        command: the program and its arguments.

    Returns:
        The command's exit code; 127 if it cannot be started.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # a signal only wakes the loop below

    def end_with_the_guard() -> None:
        libc.prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)

    try:
        # preexec_fn is safe here, because the guard has no threads.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_the_guard,
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr)
        return 127
    _wait(child, woken)
    _end_all(patience, child)
    return 128 - child.returncode if child.returncode < 0 else child.returncode


def descendants(ancestor: int) -> list[int]:
    """Return the living descendants of a process, without zombies."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # the process has just ended
            continue
        if state not in "ZX":
            parents.setdefault(int(parent), []).append(int(stat.parent.name))
        else:  # a zombie has no children: the kernel has given them a new parent
            continue
    living, unvisited = [], [ancestor]
    while unvisited:
        children = parents.get(unvisited.pop(), [])
        living += children
        unvisited += children
    return living


def _wait(child: subprocess.Popen[bytes], woken: int) -> None:
    """Wait until the command ends, the caller ends, or a signal arrives."""
    while child.poll() is None:
        ready, _, _ = select.select([0, woken], [], [])
        if 0 in ready and not os.read(0, 1024):
            return
        if woken in ready and set(os.read(woken, 1024)) - {signal.SIGCHLD}:
            return


def _end_all(patience: float, child: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to all descendants, then SIGKILL until none is left and the command's exit code is known.

    A process whose first thread has ended looks like a zombie as long as others of its threads run: it has no exit code
    yet, and must be ended too.
    """
    terminated: set[int] = set()
    deadline = time.monotonic() + patience
    while (remaining := descendants(os.getpid())) or child.poll() is None:
        late = time.monotonic() >= deadline
        for process in {*remaining, *([child.pid] if child.poll() is None else [])}:
            if late or process not in terminated:  # also a process that was started since the last check
                _send(process, signal.SIGKILL if late else signal.SIGTERM)
        terminated.update(remaining)
        time.sleep(_POLL)
        _reap(child)
    _reap(child)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Collect the exit status of children that have ended: the command, and orphans that this process adopted."""
    child.poll()
    while child.returncode is not None:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(guard(float(sys.argv[1]), sys.argv[2:]))
