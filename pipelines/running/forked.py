"""Calls a function in a fork of this process, for a limited time."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Result:
    """The value that a function returned in the fork; `reason` says why there is none."""

    value: Any = None
    reason: str = ""


def call(function: Callable[[], Any], seconds: float) -> Result:
    """Call a function in a fork, and end the fork if it takes too long.

    Args:
        function: returns plain data that JSON can hold.
        seconds: the longest time.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _answer(function, writing)
    os.close(writing)
    until, parts = time.monotonic() + seconds, []
    try:
        while select.select([reading], [], [], max(until - time.monotonic(), 0))[0]:
            if part := os.read(reading, 1 << 16):
                parts.append(part)
                continue
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            child = 0
            if code == 0:
                return Result(json.loads(b"".join(parts)))
            ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return Result(reason=f"the process {ended}")
        return Result(reason=f"it takes longer than {seconds:g} seconds")
    finally:
        os.close(reading)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _answer(function: Callable[[], Any], pipe: int) -> None:
    """Write the function's value to a pipe and end this process, without the clean-up of its parent."""
    code = 1
    try:
        text = json.dumps(function()).encode()
        while text:
            text = text[os.write(pipe, text) :]
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
