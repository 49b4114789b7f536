"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], seconds: float = 30, shown: Callable[[], object] = lambda: "") -> None:
    """Wait until a condition holds.

    Args:
        holds: the condition.
        seconds: how long it may take; a busy machine may need several times as long as a quiet one.
        shown: returns what the failure shows.
    """
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, shown()
        time.sleep(0.02)
