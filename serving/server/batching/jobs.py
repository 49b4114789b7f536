"""A request that waits for its run, and who gets the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benison.serving.server.batching.tasks import BatchTask
from benison.serving.server.status import RequestError


class Job:
    """Waits for a run. Whoever makes one says in `settle` what becomes of the answer."""

    __slots__ = ("arrived", "cancelled", "deadline", "work")

    def __init__(self, work: BatchTask, deadline: float) -> None:
        """Arrives now.

        Args:
            work: what is to be run.
            deadline: on time.monotonic()'s clock; what has not begun by then is not run at all.
        """
        self.work = work
        self.deadline = deadline
        self.cancelled = False
        self.arrived = time.monotonic()

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self.cancelled = True

    def is_over(self) -> bool:
        """Whether there is nobody to give an answer to."""
        return self.cancelled

    def settle(self, answer: Any) -> None:
        """Takes the answer, or the RequestError by which the run failed. Called on the event loop, at most once."""
        raise NotImplementedError


class FutureJob(Job):
    """A job whose answer is awaited."""

    __slots__ = ("future",)

    def __init__(self, work: BatchTask, deadline: float, future: asyncio.Future[Any]) -> None:
        super().__init__(work, deadline)
        self.future = future

    def is_over(self) -> bool:
        """See Job."""
        return self.future.done()  # cancelled, or out of time

    def settle(self, answer: Any) -> None:
        """See Job."""
        if self.future.done():
            return
        if isinstance(answer, RequestError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


def settle(jobs: Sequence[Job], answers: Sequence[Any]) -> None:
    """Gives every job its answer."""
    for job, answer in zip(jobs, answers, strict=True):
        if not job.is_over():
            job.settle(answer)
