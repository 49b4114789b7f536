"""Runs a command and ends all that it started, whatever becomes of who asked for it. Standard library, Linux.

    python -I benison_guard.py SECONDS COMMAND [ARGUMENT...]

The command gets a session of its own. When it has ended, or stdin here ends, or a TERM comes, what is left of its
descendants gets TERM, SECONDS to end, then KILL. Stdin is a pipe that the caller holds: it ends with the caller, also
where that one was killed and could not say goodbye.

A descendant that has left the group and whose parent has died is found as well: this process asks the kernel to make
such orphans its own children (PR_SET_CHILD_SUBREAPER), so all of them stand in the tree below it.

The exit code is the command's; of one that a signal ended, 128 + its number, as in a shell.
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
_LOOK = 0.1  # seconds between two looks at what is left


def guard(patience: float, command: list[str]) -> int:
    """Runs the command to its end, or to the caller's.

    Args:
        patience: seconds between TERM and KILL.
        command: the program and its arguments.

    Returns:
        Its exit code; 127 where it cannot be started.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # each only wakes the loop below

    def with_the_guard() -> None:
        libc.prctl(_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)

    try:
        # The guard has no threads, so there is nothing that preexec_fn could upset.
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=with_the_guard,
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr)
        return 127
    _wait(child, woken)
    code = child.poll()
    _end_all(patience, child)
    code = child.returncode if code is None else code
    return 128 - code if code < 0 else code


def descendants(of: int) -> list[int]:
    """The living processes below one, itself left out; zombies do not count."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if state not in "ZX":
            parents.setdefault(int(parent), []).append(int(stat.parent.name))
        else:  # its children, if any, have been handed on already
            continue
    found, open_ = [], [of]
    while open_:
        below = parents.get(open_.pop(), [])
        found += below
        open_ += below
    return found


def _wait(child: subprocess.Popen[bytes], woken: int) -> None:
    """Until the command has ended, the caller has gone, or somebody sends a signal."""
    while child.poll() is None:
        ready, _, _ = select.select([0, woken], [], [])
        if 0 in ready and not os.read(0, 1024):
            return
        if woken in ready and set(os.read(woken, 1024)) - {signal.SIGCHLD}:
            return


def _end_all(patience: float, child: subprocess.Popen[bytes]) -> None:
    """TERM to what is left below this process, then KILL until nothing is."""
    told: set[int] = set()
    until = time.monotonic() + patience
    while left := descendants(os.getpid()):
        late = time.monotonic() >= until
        for process in left:
            if late or process not in told:  # one that was started meanwhile is told, too
                _send(process, signal.SIGKILL if late else signal.SIGTERM)
        told.update(left)
        time.sleep(_LOOK)
        _reap(child)
    _reap(child)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _reap(child: subprocess.Popen[bytes]) -> None:
    """Takes note of children that have ended: the command, and orphans that were handed to this process."""
    child.poll()
    while child.returncode is not None:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(guard(float(sys.argv[1]), sys.argv[2:]))
