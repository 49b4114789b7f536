"""Gives freed memory back to the system.

After the first block of several megabytes is freed, the allocator of glibc keeps blocks of that size for later ones,
64 MB and more. They would stay with the server until the next large request, while its neighbours on the machine lack
them.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
from collections.abc import Callable

_SECONDS = 5.0
_GROWN = 32 << 20  # bytes
_TRIES = 12  # after which what remains is in use, such as a model that was loaded


async def give_back_regularly() -> None:
    """Give memory back for a minute whenever the process has grown. It never returns."""
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    size, tries = 0, 0
    while trim is not None:
        await asyncio.sleep(_SECONDS)
        if _resident_bytes() <= size + _GROWN:
            tries = 0
            continue
        gc.collect()  # less than a millisecond: TensorFlow's objects are frozen
        await asyncio.to_thread(trim, 0)  # some milliseconds, without Python's lock
        tries += 1
        if tries == _TRIES or not size:
            size, tries = _resident_bytes(), 0


def _resident_bytes() -> int:
    """Return the memory of this process; 0 on a system without /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
