"""A part of a node that runs while no other node does, such as a measurement of latency.

Whoever runs nodes side by side provides the means (`provided`). TFX's LocalDagRunner, which runs one after the other,
needs none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Alone = Callable[[], contextlib.AbstractContextManager[None]]
_providers: list[Alone] = []


@contextlib.contextmanager
def provided(hold: Alone) -> Iterator[None]:
    """Let `alone` hold what keeps other nodes away, until the block ends.

    Args:
        hold: returns a context manager whose block begins when no other node runs, and lets none run meanwhile.
    """
    _providers.append(hold)
    try:
        yield
    finally:
        _providers.pop()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other node runs, and let none run until the block ends."""
    with _providers[-1]() if _providers else contextlib.nullcontext():
        yield
