"""Threads that give way to requests, for what loads while something serves.

Their long calls into TensorFlow, which leave the interpreter free, are made at the lowest priority. Not so the rest:
whoever holds the interpreter's lock and gets no processor stops everybody, so a quarter of a processor is left to it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_NICENESS = 5  # a quarter of a processor that requests need as well
_LOWEST = 19


class _Here(threading.local):
    modest = False


def begin() -> None:
    """Makes this thread one that gives way, for good."""
    _here.modest = True
    _step_back(_NICENESS)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls what leaves the interpreter free for most of its time; raises what it raises."""
    if _here.modest:
        return _lowest.submit(function, *arguments).result()
    return function(*arguments)


def rest(seconds: float) -> None:
    """Lets requests go first for a while, after what held the interpreter."""
    if _here.modest:
        time.sleep(seconds)


def _step_back(niceness: int) -> None:
    """Only Linux has priorities for threads."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


_here = _Here()
_lowest = ThreadPoolExecutor(thread_name_prefix="modest", initializer=_step_back, initargs=(_LOWEST,))
