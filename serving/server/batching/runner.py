"""The runner of one version: requests that arrive during a run share the next run.

This needs no timer: an idle version runs a request immediately, and a busy one forms larger batches and becomes faster.
A batching_parameters_file can add a timer, limits and fixed sizes.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.server.batching.admission import Admission
from benison.serving.server.batching.jobs import FutureJob, Job, settle_all
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.sharing import Sharing
from benison.serving.server.batching.tasks import BatchTask, CallTask, RowCountMismatch
from benison.serving.server.engine import Engine, Tensors
from benison.serving.server.inference import Call
from benison.serving.server.status import Code, RequestError, from_exception, invalid

if TYPE_CHECKING:
    from benison.serving.server.batching.routes import Route

_log = logging.getLogger(__name__)
_Queues = OrderedDict[Any, deque[Job]]


@dataclass
class Counts:
    """Counts requests (answered or failed), runs, and the runs that several requests shared."""

    requests: int = 0
    runs: int = 0
    shared: int = 0


class Runner:
    """The queues of one loaded version.

    Short runs happen on the event loop and need no thread, no future and no asyncio task: requests that have arrived
    when the loop has read all its sockets share the next run. Longer runs happen in threads. The loop calls `submit`,
    `enqueue` and `_flush`; the threads run `_run_queue`.
    """

    def __init__(
        self,
        engine: Engine,
        limits: BatchLimits,
        loop: asyncio.AbstractEventLoop,
        name: str,
        routes: Mapping[str, Route] | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        """Start with empty queues.

        Args:
            engine: the loaded version.
            limits: limits of the runs and queues.
            loop: the event loop that requests arrive on.
            name: the name of the version in messages.
            routes: the route of each signature; a signature without a route runs in threads.
            sharing: whether requests for each signature share runs; without it, all do.
        """
        self.counts = Counts()
        self._engine = engine
        self._limits = limits
        self._loop = loop
        self._name = name
        self._inline_policies = {signature: route.inline_policy for signature, route in (routes or {}).items()}
        self._thread_queues: _Queues = OrderedDict()
        self._inline_queues: _Queues = OrderedDict()  # for the loop
        self._flushing = False
        self._waiting = 0
        self._admission = Admission(limits.max_queue)
        self._closed = False
        self._condition = threading.Condition()
        self.sharing = sharing or Sharing()
        self._threads = [
            threading.Thread(target=self._run_queue, name=f"{name}#{number}", daemon=True)
            for number in range(limits.threads if engine.parallel else 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of requests that wait now."""
        return self._waiting

    def runs_inline(self, task: BatchTask) -> bool:
        """Return whether a request would run on the loop now."""
        policy = self._inline_policies.get(task.signature)
        return policy is not None and policy.inline and 0 < task.rows <= self._limits.max_rows

    def submit(self, call: Call, deadline: float = float("inf")) -> asyncio.Future[Tensors]:
        """Queue a call.

        Args:
            call: the call to run.
            deadline: a time.monotonic() value; a call that has not started by then is not run.

        Returns:
            A future of the outputs; it fails with a RequestError if the run fails. To drop a waiting call, cancel it.

        Raises:
            RequestError: The queue is full, or the request is larger than a batch may be.
        """
        return self.submit_task(CallTask(self._engine, call), deadline)

    def submit_task(self, task: BatchTask, deadline: float = float("inf")) -> asyncio.Future[Any]:
        """Queue a task; see `submit`."""
        job = FutureJob(task, deadline, self._loop.create_future())
        self.enqueue(job)
        return job.future

    def enqueue(self, job: Job) -> None:
        """Queue a job; it is settled after this returns.

        Raises:
            RequestError: The queue is full, or the request is larger than a batch may be.
        """
        rows = job.task.rows
        if self._limits.refuse_larger and rows > self._limits.max_rows:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._limits.max_rows}")
        key = job.task.key if self._may_share(job.task) and rows <= self._limits.max_rows else object()
        inline = self.runs_inline(job.task)
        with self._condition:
            self._check_capacity(job.arrived)
            (self._inline_queues if inline else self._thread_queues).setdefault(key, deque()).append(job)
            self._waiting += 1
            if not inline:
                self._condition.notify()
        if inline and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def check_capacity(self) -> None:
        """Check that the queue has room, before the caller parses a request.

        Raises:
            RequestError: The queue is full.
        """
        with self._condition:
            self._check_capacity(time.monotonic())

    def close(self) -> None:
        """Run the waiting jobs, stop the threads and unload the version. Blocks."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._engine.close()

    def _check_capacity(self, now: float) -> None:
        if self._admission.refuses(self._waiting, now):
            raise RequestError(
                Code.UNAVAILABLE, f"The queue of {self._name} is full: {self._waiting} requests wait; try again later"
            )

    def _flush(self) -> None:
        """Make one run on the loop; the next follows after the loop has read its sockets again."""
        with self._condition:
            # After close, the threads run the waiting jobs: the engine must outlive the last run.
            jobs = self._pop_batch(self._inline_queues) if self._inline_queues and not self._closed else []
            self._flushing = bool(self._inline_queues) and not self._closed
        if self._flushing:
            self._loop.call_soon(self._flush)
        if live := [job for job in jobs if self._is_live(job, settle_all)]:
            settle_all(live, self._timed_answers(live))

    def _run_queue(self) -> None:
        while jobs := self._next_batch():
            self._run_in_thread(jobs)
            jobs.clear()  # while it waits for the next one, a thread keeps no request in memory

    def _run_in_thread(self, jobs: Sequence[Job]) -> None:
        if live := [job for job in jobs if self._is_live(job, self._deliver)]:
            self._deliver(live, self._timed_answers(live))

    def _next_batch(self) -> list[Job]:
        """Wait for the jobs of the next run in a thread; return none once the runner is closed and has no jobs."""
        with self._condition:
            while True:
                while not self._thread_queues and not self._closed:
                    self._condition.wait()
                if not self._thread_queues:
                    return self._pop_batch(self._inline_queues) if self._inline_queues else []
                queue = next(iter(self._thread_queues.values()))
                remaining = queue[0].arrived + self._timeout(queue[0].task) - time.monotonic()
                if remaining <= 0 or self._closed or sum(job.task.rows for job in queue) >= self._limits.max_rows:
                    return self._pop_batch(self._thread_queues)
                self._condition.wait(remaining)

    def _pop_batch(self, queues: _Queues) -> list[Job]:
        """Remove and return the jobs of the next run; the caller holds the lock. Task keys take turns."""
        key, queue = queues.popitem(last=False)
        jobs = [queue.popleft()]
        rows = jobs[0].task.rows
        while queue and rows + queue[0].task.rows <= self._limits.max_rows:
            jobs.append(queue.popleft())
            rows += jobs[-1].task.rows
        if queue:
            queues[key] = queue
        self._waiting -= len(jobs)
        now = time.monotonic()
        self._admission.record_run(len(jobs), now - jobs[0].arrived - self._timeout(jobs[0].task), now)
        return jobs

    def _may_share(self, task: BatchTask) -> bool:
        return task.rows > 0 and task.signature not in self.sharing.alone

    def _timeout(self, task: BatchTask) -> float:
        """Return how long a task waits for others (seconds)."""
        return self._limits.timeout if self._may_share(task) else 0.0

    def _is_live(self, job: Job, deliver: Callable[[Sequence[Job], Sequence[Any]], None]) -> bool:
        """Return whether a job must run; a job whose deadline has passed gets an error."""
        if job.is_done():
            return False
        if time.monotonic() > job.deadline:
            deliver([job], [RequestError(Code.DEADLINE_EXCEEDED, "Timed out waiting in the queue")])
            return False
        return True

    def _timed_answers(self, jobs: Sequence[Job]) -> list[Any]:
        policy = self._inline_policies.get(jobs[0].task.signature)
        wall_start, cpu_start = time.perf_counter(), time.thread_time()
        answers = self._answers(jobs)
        if policy:
            policy.record(time.perf_counter() - wall_start, time.thread_time() - cpu_start)
        return answers

    def _answers(self, jobs: Sequence[Job]) -> list[Any]:
        """Return each job's answer, or the RequestError that it failed with."""
        self.counts.requests += len(jobs)
        tasks = [job.task for job in jobs]
        is_padded = bool(self._limits.allowed_rows) and self._may_share(tasks[0])
        if len(jobs) == 1 and not is_padded:
            return [self._run_alone(jobs[0])]
        try:
            self.counts.runs += 1
            batched = tasks[0].run(tasks, self._padding(sum(task.rows for task in tasks)))
        except Exception as error:
            if isinstance(error, RowCountMismatch):
                self.sharing.forbid(tasks[0].signature, str(error))
            # One bad row fails a shared run. Running each job alone limits the failure to the job with that row. A
            # second run has no effect: a signature that writes never comes here.
            return [self._run_alone(job) for job in jobs]
        if len(jobs) == 1:
            return batched
        self.counts.shared += 1
        return batched

    def _run_alone(self, job: Job) -> Any:
        self.counts.runs += 1
        try:
            return job.task.run([job.task], 0)[0]
        except Exception as error:
            return from_exception(error)

    def _padding(self, rows: int) -> int:
        """Return how many rows to add so that a run has an allowed size."""
        allowed = self._limits.allowed_rows
        position = bisect.bisect_left(allowed, rows)
        return allowed[position] - rows if position < len(allowed) else 0

    def _deliver(self, jobs: Sequence[Job], answers: Sequence[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(settle_all, jobs, answers)
        except RuntimeError:  # the loop is closed, so no client waits
            _log.debug("%s: dropped %d answers because the event loop is closed", self._name, len(answers))
