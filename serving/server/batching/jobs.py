"""Jobs: requests that wait in a queue for their run, and the delivery of their answers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from benison.serving.server.batching.tasks import BatchTask
from benison.serving.server.status import RequestError


class Job:
    """A request that waits for a run. Subclasses define in `settle` what happens with the answer."""

    __slots__ = ("arrived", "cancelled", "deadline", "task")

    def __init__(self, task: BatchTask, deadline: float) -> None:
        """Create a job that arrives now.

        Args:
            task: the task to run.
            deadline: a time.monotonic() value; a job that has not started by then is not run.
        """
        self.task = task
        self.deadline = deadline
        self.cancelled = False
        self.arrived = time.monotonic()

    def cancel(self) -> None:
        """Drop the job: no client waits for the answer."""
        self.cancelled = True

    def is_done(self) -> bool:
        """Return whether no client waits for the answer."""
        return self.cancelled

    def settle(self, answer: Any) -> None:
        """Deliver the answer, or the RequestError that the run failed with.

        It is called on the event loop, at most once.
        """
        raise NotImplementedError


class FutureJob(Job):
    """A job whose answer a coroutine awaits."""

    __slots__ = ("future",)

    def __init__(self, task: BatchTask, deadline: float, future: asyncio.Future[Any]) -> None:
        super().__init__(task, deadline)
        self.future = future

    def is_done(self) -> bool:
        """See `Job`."""
        return self.future.done()  # cancelled, or its deadline has passed

    def settle(self, answer: Any) -> None:
        """See `Job`."""
        if self.future.done():
            return
        if isinstance(answer, RequestError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


def take_run(waiting: deque[Job], max_rows: int) -> list[Job]:
    """Take the first job out of a queue, and those after it that fit into the same run.

    Args:
        waiting: the jobs, the oldest first; at least one.
        max_rows: the number of rows that fill a run; the first job may have more.
    """
    jobs = [waiting.popleft()]
    rows = jobs[0].task.rows
    while waiting and rows + waiting[0].task.rows <= max_rows:
        jobs.append(waiting.popleft())
        rows += jobs[-1].task.rows
    return jobs


def settle_all(jobs: Sequence[Job], answers: Sequence[Any]) -> None:
    """Deliver to every job its answer."""
    for job, answer in zip(jobs, answers, strict=True):
        if not job.is_done():
            job.settle(answer)
