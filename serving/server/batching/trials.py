"""Trials: runs of a version at load, whose time is limited and measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from benison.serving.server.batching.graph_engine import GraphEngine
from benison.serving.server.batching.inline_policy import MAX_RUN_SECONDS
from benison.serving.server.engine import Signature, Tensors
from benison.serving.server.engines import low_priority

if TYPE_CHECKING:
    import numpy as np

_MEASUREMENTS = 3  # a first run can be slow for other reasons
_T = TypeVar("_T")


class Stopped(BaseException):
    """The trials of a signature end before their result is known.

    It is no Exception: those are what a model does with a row, and a trial compares them.
    """


class TimeLimit:
    """The time for the trials of all signatures of a version.

    What the session prepares for a signature does not count: requests need most of it, and it is no longer for a slow
    model. But no signature begins after the time.

    Attributes:
        seconds: the limit.
        message: why a signature was not tried to the end.
    """

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self.seconds = seconds
        self.message = f"the trials of this version at load took longer than {seconds:.1f} s"
        self._start = time.monotonic()
        self._prepared = 0.0
        self._preparing_since = float("inf")

    def begin(self) -> None:
        """Check that one more signature may be tried.

        Raises:
            Stopped: The time is over.
        """
        if time.monotonic() - self._start > self.seconds:
            raise Stopped(self.message)

    def check(self) -> None:
        """Check that one more run may be made.

        Raises:
            Stopped: The time is over.
        """
        if self.is_over():
            raise Stopped(self.message)

    def is_over(self) -> bool:
        """Return whether the time is over."""
        return min(time.monotonic(), self._preparing_since) - self._start - self._prepared > self.seconds

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Stop the clock while the session prepares a signature."""
        self._preparing_since = start = time.monotonic()
        try:
            yield
        finally:
            self._prepared += time.monotonic() - start
            self._preparing_since = float("inf")


class Trials:
    """The runs of one signature.

    Attributes:
        engine: the version.
        time_limit: the limit, which other signatures share.
        seconds: the time of each run; CPU time if one thread does all its work.
    """

    def __init__(self, engine: GraphEngine, time_limit: TimeLimit) -> None:
        """Make no run yet."""
        self.engine = engine
        self.time_limit = time_limit
        self.seconds: list[float] = []
        self._clock = time.thread_time if engine.single_threaded else time.perf_counter

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Run the signature; see `Engine`.

        Raises:
            Stopped: The time is over, or each of several runs was too slow for the event loop.
        """
        return self.timed(self.engine.run, signature, inputs, outputs)

    def timed(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call a function that makes one run; see `run`."""
        self.time_limit.check()
        if len(self.seconds) >= _MEASUREMENTS and (fastest := min(self.seconds)) > MAX_RUN_SECONDS:
            raise Stopped(f"one row takes {fastest * 1000:.1f} ms; the limit is {MAX_RUN_SECONDS * 1000:g} ms")

        def call() -> _T:
            start = self._clock()
            try:
                return function(*arguments)
            finally:
                self.seconds.append(self._clock() - start)

        answer: _T = low_priority.call(call)  # the clock is that of the thread that makes the run
        return answer
