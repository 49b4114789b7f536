"""Runs a function in a fork of this process."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benison.components import processes
from benison.components.forks import how_it_ended

_END = b"\n"  # of an answer; JSON escapes the line breaks inside


@dataclass(frozen=True)
class ForkResult:
    """The value that a function returned in the fork; `reason` says why there is none."""

    value: Any = None
    reason: str = ""


class Fork:
    """A function that runs in a fork of this process.

    Args:
        function: returns plain data that JSON can hold.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._pipe, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            gc.freeze()  # a collection would copy the memory that this process shares with its parent
            gc.enable()
            os.close(self._pipe)
            _end_with(parent)
            _answer(function, writing)
        os.close(writing)

    def result(self, seconds: float | None = None) -> ForkResult:
        """Wait for the function's value, once; end the fork if it takes longer than so many seconds from now."""
        until = None if seconds is None else time.monotonic() + seconds
        answer = b""
        try:
            # Not up to the end of the pipe: a process that the function has left behind may hold it open.
            while select.select([self._pipe], [], [], None if until is None else max(until - time.monotonic(), 0))[0]:
                part = os.read(self._pipe, 1 << 16)
                answer += part
                if part and not part.endswith(_END):
                    continue
                code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
                self._child = 0
                return (
                    ForkResult(json.loads(answer))
                    if answer.endswith(_END)
                    else ForkResult(reason=f"the process {how_it_ended(code)}")
                )
            return ForkResult(reason=f"it takes longer than {seconds:g} seconds")
        finally:
            os.close(self._pipe)
            if self._child:
                os.kill(self._child, signal.SIGKILL)
                os.waitpid(self._child, 0)


def call(function: Callable[[], Any], seconds: float | None = None) -> ForkResult:
    """Call a function in a fork, and end the fork if it takes longer than so many seconds; see `Fork`."""
    return Fork(function).result(seconds)


def _end_with(parent: int) -> None:
    """Let this process end with its parent, and by a signal at once, even if the parent handles it in Python."""
    processes.end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _answer(function: Callable[[], Any], pipe: int) -> None:
    """Write the function's value to a pipe and end this process, without the clean-up of its parent."""
    code = 1
    try:
        text = json.dumps(function()).encode() + _END
        while text:
            text = text[os.write(pipe, text) :]
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
