"""Gives the memory of large requests back to the system.

After the first block of several megabytes is freed, the allocator of glibc keeps blocks of that size for later ones,
64 MB and more. They would stay with the server until the next large request, while its neighbours on the machine lack
them.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

LARGE = 4 << 20  # bytes; glibc keeps less than this of smaller requests
_SECONDS = 2.0  # after which a request and its answer are no longer held by anything


class FreedMemory:
    """Gives memory back a little later, once for many requests."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)  # only glibc has it

    def give_back_soon(self) -> None:
        """Give back what large requests have left, in some seconds; call it on the event loop."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._give_back)

    def _give_back(self) -> None:
        self._timer = None
        asyncio.get_running_loop().run_in_executor(None, self._trim, 0)  # it takes milliseconds, without Python's lock
