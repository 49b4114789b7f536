"""Low priority for threads that load a version while another one serves.

Long calls into TensorFlow, which release the interpreter lock, run at the lowest priority. The rest of a load does not:
a thread that holds the interpreter lock and gets no processor stops all others, so it keeps a quarter of a processor.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

_NICENESS = 5  # leaves a quarter of a processor when requests use the rest
_LOWEST = 19
_POLL_SECONDS = 0.05


class _ThreadState(threading.local):
    low_priority = False


def lower_this_thread() -> None:
    """Lower the priority of this thread permanently."""
    _this_thread.low_priority = True
    _add_niceness(_NICENESS)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that releases the interpreter lock for most of its time.

    A thread with lowered priority calls it at the lowest priority.

    Raises:
        Exception: The function raised it.
    """
    if _this_thread.low_priority:
        return _lowest_priority_pool.submit(function, *arguments).result()
    return function(*arguments)


def call_until(is_over: Callable[[], bool], function: Callable[[], None]) -> None:
    """Call a function in a thread of its own, with the priority of this one; return at its end, or earlier.

    Args:
        is_over: returns whether to wait no longer; the thread continues.
        function: raises nothing.
    """
    is_low = _this_thread.low_priority

    def run() -> None:
        _this_thread.low_priority = is_low  # a new thread has the niceness of the thread that starts it
        function()

    thread = threading.Thread(target=run, name="trials", daemon=True)
    thread.start()
    while thread.is_alive() and not is_over():
        thread.join(_POLL_SECONDS)


def pause(seconds: float) -> None:
    """Let requests run for a while after a call that held the interpreter lock, in a thread with lowered priority."""
    if _this_thread.low_priority:
        time.sleep(seconds)


def _add_niceness(niceness: int) -> None:
    """Add to the niceness of this thread; only Linux has priorities per thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


_this_thread = _ThreadState()
_lowest_priority_pool = ThreadPoolExecutor(
    thread_name_prefix="low-priority", initializer=_add_niceness, initargs=(_LOWEST,)
)
