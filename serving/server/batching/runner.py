"""The runner of one version: requests that arrive during a run share the next run.

This needs no timer: an idle version runs a request immediately, and a busy one forms larger batches and becomes faster.
A batching_parameters_file can add a timer, limits and fixed sizes. Runs that share nothing go side by side, see
`thread_queues`.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.server.batching.admission import Admission
from benison.serving.server.batching.jobs import FutureJob, Job, settle_all, take_run
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.sharing import Sharing
from benison.serving.server.batching.tasks import BatchTask, CallTask, RowCountMismatch
from benison.serving.server.batching.thread_queues import WRITERS, Run, ThreadQueues
from benison.serving.server.engine import Engine, Tensors, stop_after
from benison.serving.server.inference import Call
from benison.serving.server.status import Code, RequestError, from_exception, invalid

if TYPE_CHECKING:
    from benison.serving.server.batching.routes import Route

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 2.0  # in which runs end that can be stopped


@dataclass
class Counts:
    """Counts requests (answered or failed), runs, and the runs that several requests shared."""

    requests: int = 0
    runs: int = 0
    shared: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(self.requests + other.requests, self.runs + other.runs, self.shared + other.shared)


class Runner:
    """The queues of one loaded version.

    Short runs happen on the event loop and need no thread, no future and no asyncio task: requests that have arrived
    when the loop has read all its sockets share the next run. Longer runs happen in threads. The loop calls `submit`,
    `enqueue` and `_flush`; the threads run `_run_queue`. A thread starts when a run may begin and all others are busy.
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
        self._loop_counts, self._thread_counts = Counts(), Counts()
        self._engine = engine
        self._limits = limits
        self._loop = loop
        self._name = name
        self._inline_policies = {signature: route.inline_policy for signature, route in (routes or {}).items()}
        parallel = limits.threads or _cores()
        self._thread_queues = ThreadQueues(limits.max_rows, limits.timeout, parallel, not engine.parallel)
        self._inline_queues: OrderedDict[Any, deque[Job]] = OrderedDict()  # for the loop
        self._flushing = False
        self._waiting = 0
        self._admission = Admission(limits.max_queue)
        self._closed = False
        self._refusal: RequestError | None = None  # of all requests
        self._condition = threading.Condition()
        self.sharing = sharing or Sharing()
        self._idle = 0  # threads that wait for a run
        self._threads = 0
        self._start_thread()

    @property
    def counts(self) -> Counts:
        """The counts since the version was loaded."""
        return self._loop_counts + self._thread_counts

    @property
    def most_rows(self) -> float:
        """The largest number of rows in a request."""
        return self._limits.max_rows if self._limits.refuse_larger else float("inf")

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
        shares = rows <= self._limits.max_rows and self._may_share(job.task)
        inline = self.runs_inline(job.task)
        with self._condition:
            self._check_capacity(job.arrived)
            if inline:
                self._inline_queues.setdefault(job.task.key if shares else object(), deque()).append(job)
            else:
                lane = self._lane(job.task)
                self._thread_queues.add(job.task.key if shares else ("alone", lane), lane, shares, job)
            self._waiting += 1
            if not inline:
                self._wake_thread()
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
        """Run the waiting jobs, stop the runs that nobody waits for, and unload the version. Blocks."""
        with self._condition:
            self._closed = True
            if self._waiting:
                self._start_thread()
            self._condition.notify_all()
            while self._waiting or not all(run.is_abandoned() for run in self._thread_queues.runs):
                self._condition.wait(0.05)
            is_idle = not self._thread_queues.runs
        if is_idle:
            self._engine.close()
        else:
            self._close_busy_engine()
            with self._condition:
                self._condition.wait_for(lambda: not self._thread_queues.runs, _CLOSE_SECONDS)

    def abandon(self, error: RequestError) -> None:
        """Refuse the waiting jobs and all later ones with an error; unload the version without waiting for its runs.

        It is called on the event loop.
        """
        with self._condition:
            self._closed, self._refusal = True, error
            jobs = [*self._thread_queues.take_all(), *(job for queue in self._inline_queues.values() for job in queue)]
            self._inline_queues.clear()
            self._waiting = 0
            self._condition.notify_all()
        settle_all(jobs, [error] * len(jobs))
        self._close_busy_engine()

    def hung_runs(self, seconds: float) -> int:
        """Find and count the runs that do not end; others run in their place.

        Args:
            seconds: how long after its deadline a run that nobody waits for counts as hung.
        """
        with self._condition:
            late = time.monotonic() - seconds
            for run in self._thread_queues.runs:
                if not run.hung and run.stops_at < late and run.is_abandoned():
                    self._thread_queues.set_hung(run)
                    _log.error("%s: a run of %s does not end", self._name, run.jobs[0].task.signature)
                    self._wake_thread()
            return self.count_hung()

    def count_hung(self) -> int:
        """Return the number of runs that counted as hung and have not ended; see `hung_runs`."""
        return sum(run.hung for run in list(self._thread_queues.runs))

    def runs_in_progress(self) -> int:
        """Return the number of runs in threads that have not ended."""
        return len(self._thread_queues.runs)

    def _close_busy_engine(self) -> None:
        """Unload the version in a thread of its own. This stops loops, and waits for what cannot be stopped."""
        threading.Thread(target=self._engine.close, name=f"unload {self._name}", daemon=True).start()

    def _check_capacity(self, now: float) -> None:
        if self._refusal:
            raise RequestError(self._refusal.code, self._refusal.message)
        if self._admission.refuses(self._waiting, now):
            raise RequestError(
                Code.UNAVAILABLE, f"The queue of {self._name} is full: {self._waiting} requests wait; try again later"
            )

    def _flush(self) -> None:
        """Make one run on the loop; the next follows after the loop has read its sockets again."""
        with self._condition:
            # After close, the threads run the waiting jobs: the engine must outlive the last run.
            jobs = self._pop_inline() if self._inline_queues and not self._closed else []
            self._flushing = bool(self._inline_queues) and not self._closed
        if self._flushing:
            self._loop.call_soon(self._flush)
        if live := [job for job in jobs if self._is_live(job, settle_all)]:
            settle_all(live, self._timed_answers(live, self._loop_counts))

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._run_queue, name=f"{self._name}#{self._threads}", daemon=True).start()

    def _wake_thread(self) -> None:
        """Let a thread look at the queues, if a run may begin, now or after a timer; the caller holds the lock."""
        if self._idle:
            self._condition.notify()
        elif not self._closed and self._thread_queues.next_key(time.monotonic(), False) != (None, float("inf")):
            self._start_thread()

    def _run_queue(self) -> None:
        while self._run_next():
            pass  # while it waits for the next one, a thread keeps no request in memory

    def _run_next(self) -> bool:
        """Make the next run; return False once the runner is closed and has no jobs."""
        run = self._next_run()
        if run is None:
            return False
        counts = Counts()
        try:
            if live := [job for job in run.jobs if self._is_live(job, self._deliver)]:
                now = time.monotonic()
                run.stops_at = now + stop_after(max(job.deadline for job in live) - now)
                answers = self._timed_answers(live, counts, in_thread=True)
                with self._condition:
                    self._thread_counts += counts
                self._deliver(live, answers)
        finally:
            with self._condition:
                self._thread_queues.end(run)
                if self._closed:
                    self._condition.notify_all()
        return True

    def _next_run(self) -> Run | None:
        """Wait for the next run in a thread; return None once the runner is closed and has no jobs."""
        with self._condition:
            while True:
                key, seconds = self._thread_queues.next_key(time.monotonic(), self._closed)
                if key is not None:
                    run = self._thread_queues.begin(key)
                    self._record(run.jobs)
                    if self._thread_queues:
                        self._wake_thread()
                    return run
                if self._closed and not self._thread_queues:
                    return self._thread_queues.begin_with(self._pop_inline()) if self._inline_queues else None
                self._idle += 1
                self._condition.wait(None if seconds == float("inf") else seconds)
                self._idle -= 1

    def _pop_inline(self) -> list[Job]:
        """Remove and return the jobs of the next run on the loop; the caller holds the lock. Task keys take turns."""
        key, queue = self._inline_queues.popitem(last=False)
        jobs = take_run(queue, self._limits.max_rows)
        if queue:
            self._inline_queues[key] = queue
        self._record(jobs)
        return jobs

    def _record(self, jobs: Sequence[Job]) -> None:
        """Record that jobs leave a queue; the caller holds the lock."""
        self._waiting -= len(jobs)
        now = time.monotonic()
        self._admission.record_run(len(jobs), now - jobs[0].arrived - self._timeout(jobs[0].task), now)

    def _lane(self, task: BatchTask) -> Any:
        """Return the lane of a task; see `thread_queues`."""
        if self._engine.signatures[task.signature].writes:
            return WRITERS
        return task.signature, task.rows > self._limits.max_rows

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

    def _timed_answers(self, jobs: Sequence[Job], counts: Counts, in_thread: bool = False) -> list[Any]:
        """Return the answers of a run; see `_answers`."""
        policy = self._inline_policies.get(jobs[0].task.signature)
        wall_start, cpu_start = time.perf_counter(), time.thread_time()
        answers = self._answers(jobs, counts, in_thread)
        if policy:
            policy.record(time.perf_counter() - wall_start, time.thread_time() - cpu_start)
        return answers

    def _answers(self, jobs: Sequence[Job], counts: Counts, in_thread: bool) -> list[Any]:
        """Return each job's answer, or the RequestError that it failed with.

        Args:
            jobs: the jobs of one run.
            counts: are updated.
            in_thread: whether the engine stops the run at the first deadline of its jobs.
        """
        counts.requests += len(jobs)
        tasks = [job.task for job in jobs]
        is_padded = bool(self._limits.allowed_rows) and self._may_share(tasks[0])
        if len(jobs) == 1 and not is_padded:
            return [self._run_alone(jobs[0], counts, in_thread)]
        try:
            counts.runs += 1
            batched = tasks[0].run(
                tasks, self._padding(sum(task.rows for task in tasks)), _seconds(jobs) if in_thread else 0
            )
        except Exception as error:
            if isinstance(error, RowCountMismatch):
                self.sharing.forbid(tasks[0].signature, str(error))
            # One bad row fails a shared run. Running each job alone limits the failure to the job with that row. A
            # second run has no effect: a signature that writes never comes here. Nor does the deadline of one job limit
            # the others.
            return [self._run_again(job, counts, in_thread) for job in jobs]
        if len(jobs) == 1:
            return batched
        counts.shared += 1
        return batched

    def _run_again(self, job: Job, counts: Counts, in_thread: bool) -> Any:
        if job.is_done() or time.monotonic() > job.deadline:
            return RequestError(Code.DEADLINE_EXCEEDED, "Timed out")
        return self._run_alone(job, counts, in_thread)

    def _run_alone(self, job: Job, counts: Counts, in_thread: bool) -> Any:
        counts.runs += 1
        try:
            return job.task.run([job.task], 0, _seconds([job]) if in_thread else 0)[0]
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


def _seconds(jobs: Sequence[Job]) -> int:
    """Return the time after which the engine stops a run of these jobs (seconds)."""
    return stop_after(min(job.deadline for job in jobs) - time.monotonic())


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
