"""Gives freed memory back to the system.

With the defaults of glibc, each thread has a heap of its own, and free memory at the end of such a heap cannot be given
back: up to 64 MB for each thread that has handled large messages. TensorFlow's oneDNN keeps all the memory that its
large tensors ever took. So here all threads and TensorFlow's tensors have one heap. It keeps blocks of up to 32 MB for
later ones, as glibc does after the first block of that size, until it is trimmed.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

_SECONDS = 5.0
_GROWN = 32 << 20  # bytes
_TRIES = 12  # after which what remains is probably in use, such as a model that was loaded
_LATER_SECONDS = 60.0  # between two of the tries after these
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _ARENA_MAX = -3, -1, -8  # parameters of mallopt
_SETTINGS = {_ARENA_MAX: 1, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 256 << 20}
_USERS_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_ARENA_MAX")


def use_one_heap() -> None:
    """Set up the allocators, before other threads begin and TensorFlow is loaded; the user's own settings stay."""
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")
    mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt and not any(name in os.environ for name in _USERS_SETTINGS):
        for parameter, value in _SETTINGS.items():
            mallopt(parameter, value)


async def give_back_regularly() -> None:
    """Give memory back while the process is larger than it was: often for a minute, then seldom. It never returns."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    size, tries = 0, 0
    while trim is not None:
        await asyncio.sleep(_SECONDS if tries < _TRIES else _LATER_SECONDS)
        if size and _resident_bytes() <= size + _GROWN:
            tries = 0
            continue
        gc.collect()  # less than a millisecond: TensorFlow's objects are frozen
        await asyncio.to_thread(trim, 0)  # some milliseconds, without Python's lock
        size = min(size, _resident_bytes()) or _resident_bytes()
        tries += 1


def _resident_bytes() -> int:
    """Return the memory of this process; 0 on a system without /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
