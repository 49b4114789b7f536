"""Measures where the time of this process goes: seconds by phase, processor time, peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Phases of a node, besides the time that it waits for a worker.
IMPORTS, CODE, LOCK, LAUNCHER, EXECUTOR, RECORD = "imports", "code", "lock", "TFX's launcher", "executor", "record"
_seconds: dict[str, float] = {}
_inside: list[float] = []  # seconds of the phases inside each open one


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Add the time of the block to a phase; a phase inside the block has its own time."""
    started = time.monotonic()
    _inside.append(0.0)
    try:
        yield
    finally:
        seconds = time.monotonic() - started
        _seconds[name] = _seconds.get(name, 0.0) + seconds - _inside.pop()
        if _inside:
            _inside[-1] += seconds


def begin() -> None:
    """Forget what was measured."""
    _seconds.clear()


def measured() -> dict[str, float]:
    """Return the seconds by phase."""
    return dict(_seconds)


def resources() -> dict[str, Any]:
    """Return the processor time of this process and its ended children, and the peak memory of the largest.

    A fork has used no processor time yet, but its memory begins with that of its parent.
    """
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "processor_s": sum(use.ru_utime + use.ru_stime for use in uses),
        "memory_mb": max(use.ru_maxrss for use in uses) / 1024,
    }
