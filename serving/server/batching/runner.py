"""Runs the requests for one version, those that came while the last run took its time together in the next.

No timer is needed: an idle version runs a request at once, a busy one finds more of them and so gets faster. Where a
batching_parameters_file asks for a timer, a limit or fixed sizes, it gets them.
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
from benison.serving.server.batching.jobs import FutureJob, Job, settle
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.route_parity import same
from benison.serving.server.batching.tasks import BatchTask, CallTask, NotOneRowEach
from benison.serving.server.engine import Engine, Tensors
from benison.serving.server.inference import Call
from benison.serving.server.status import Code, RequestError, from_exception, invalid

if TYPE_CHECKING:
    from benison.serving.server.batching.routes import Route

_PROOFS = 8  # shared runs of a signature whose answers are compared with those of each request alone
_UNPROVEN = 8  # requests that share a run until then; each costs a run of its own as well, and waits for all of them
_log = logging.getLogger(__name__)
_Queues = OrderedDict[Any, deque[Job]]


@dataclass
class Counts:
    """What a version has done: requests answered or failed, runs, and those of them that several requests shared."""

    requests: int = 0
    runs: int = 0
    shared: int = 0


class Runner:
    """The queues of one loaded version.

    Short runs are made on the event loop, where they need no thread, no future and no task of their own: what has
    arrived by the time that the loop has read all its sockets shares the next run. The others are made by threads.
    `submit`, `enqueue` and `_flush` belong to the loop, `_work` to the threads.
    """

    def __init__(
        self,
        engine: Engine,
        limits: BatchLimits,
        loop: asyncio.AbstractEventLoop,
        name: str,
        routes: Mapping[str, Route] | None = None,
    ) -> None:
        """Begins with empty queues.

        Args:
            engine: the version.
            limits: of a run and of the queues.
            loop: where requests come from.
            name: of the version, for messages.
            routes: which way each signature goes; one that is not in it goes to the threads.
        """
        self.counts = Counts()
        self._engine = engine
        self._limits = limits
        self._loop = loop
        self._name = name
        self._inline_policies = {signature: route.inline_policy for signature, route in (routes or {}).items()}
        self._queues: _Queues = OrderedDict()
        self._short: _Queues = OrderedDict()  # for the loop
        self._flushing = False
        self._waiting = 0
        self._admission = Admission(limits.max_queue)
        self._closed = False
        self._changed = threading.Condition()
        # Shared runs that agreed, by signature; -1: they did not. What may run on the loop was proven at its load.
        self._proofs = {signature: _PROOFS for signature, policy in self._inline_policies.items() if policy.inline}
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}#{number}", daemon=True)
            for number in range(limits.threads if engine.parallel else 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return self._waiting

    @property
    def apart(self) -> list[str]:
        """Signatures whose requests are no longer put together, because their answers then differed."""
        return sorted(name for name, agreed in self._proofs.items() if agreed < 0)

    def runs_inline(self, work: BatchTask) -> bool:
        """Whether a request would run on the loop now."""
        policy = self._inline_policies.get(work.signature)
        return policy is not None and policy.inline and 0 < work.rows <= self._limits.max_rows

    def submit(self, call: Call, deadline: float = float("inf")) -> asyncio.Future[Tensors]:
        """Queues a run.

        Args:
            call: what to run.
            deadline: on time.monotonic()'s clock; what has not begun by then is not run at all.

        Returns:
            The outputs, later; or the RequestError by which the run failed. Cancelling it drops a run that waits.

        Raises:
            RequestError: the queue is full, or the request is larger than a batch may be.
        """
        job = FutureJob(CallTask(self._engine, call), deadline, self._loop.create_future())
        self.enqueue(job)
        return job.future

    def enqueue(self, job: Job) -> None:
        """Queues a job; it is settled later, never before this returns.

        Raises:
            RequestError: the queue is full, or the request is larger than a batch may be.
        """
        rows = job.work.rows
        if self._limits.refuse_larger and rows > self._limits.max_rows:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._limits.max_rows}")
        key = job.work.key if 0 < rows <= self._limits.max_rows else object()
        inline = self.runs_inline(job.work)
        with self._changed:
            self._check_room(job.arrived)
            (self._short if inline else self._queues).setdefault(key, deque()).append(job)
            self._waiting += 1
            if not inline:
                self._changed.notify()
        if inline and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def check_room(self) -> None:
        """Before a request is read, as it may not be worth that.

        Raises:
            RequestError: the queue is full.
        """
        with self._changed:
            self._check_room(time.monotonic())

    def close(self) -> None:
        """Finishes what waits, ends the threads and unloads the version. Blocks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._engine.close()

    def _check_room(self, now: float) -> None:
        if self._admission.refuses(self._waiting, now):
            raise RequestError(
                Code.UNAVAILABLE, f"The queue of {self._name} is full: {self._waiting} requests wait; try later"
            )

    def _flush(self) -> None:
        """Makes one run on the loop; the next one after the loop has looked at its sockets again."""
        with self._changed:
            # Once closed, the threads finish what waits: the engine must outlive the last run.
            jobs = self._take_from(self._short) if self._short and not self._closed else []
            self._flushing = bool(self._short) and not self._closed
        if self._flushing:
            self._loop.call_soon(self._flush)
        if live := [job for job in jobs if self._wanted(job, settle)]:
            settle(live, self._timed_answers(live))

    def _work(self) -> None:
        while jobs := self._take():
            if live := [job for job in jobs if self._wanted(job, self._deliver)]:
                self._deliver(live, self._timed_answers(live))

    def _take(self) -> list[Job]:
        """The next jobs for one run in a thread; none when there will be no more."""
        with self._changed:
            while True:
                while not self._queues and not self._closed:
                    self._changed.wait()
                if not self._queues:
                    return self._take_from(self._short) if self._short else []
                queue = next(iter(self._queues.values()))
                patience = queue[0].arrived + self._limits.timeout - time.monotonic()
                if patience <= 0 or self._closed or sum(job.work.rows for job in queue) >= self._limits.max_rows:
                    return self._take_from(self._queues)
                self._changed.wait(patience)

    def _take_from(self, queues: _Queues) -> list[Job]:
        """The next jobs for one run, with the lock held. Kinds of requests take turns."""
        key, queue = queues.popitem(last=False)
        jobs = [queue.popleft()]
        rows = jobs[0].work.rows
        most = self._shared(jobs[0].work.signature)
        while len(jobs) < most and queue and rows + queue[0].work.rows <= self._limits.max_rows:
            jobs.append(queue.popleft())
            rows += jobs[-1].work.rows
        if queue:
            queues[key] = queue
        self._waiting -= len(jobs)
        now = time.monotonic()
        self._admission.took(len(jobs), now - jobs[0].arrived - self._limits.timeout, now)
        return jobs

    def _shared(self, signature: str) -> float:
        """How many requests may share a run, by what earlier runs have proven."""
        proofs = self._proofs.get(signature, 0)
        return 1 if proofs < 0 else _UNPROVEN if proofs < _PROOFS else float("inf")

    def _wanted(self, job: Job, deliver: Callable[[Sequence[Job], Sequence[Any]], None]) -> bool:
        """Whether anyone still waits for the answer; who waited too long is told so."""
        if job.is_over():
            return False
        if time.monotonic() > job.deadline:
            deliver([job], [RequestError(Code.DEADLINE_EXCEEDED, "Timed out waiting in the queue")])
            return False
        return True

    def _timed_answers(self, jobs: Sequence[Job]) -> list[Any]:
        policy = self._inline_policies.get(jobs[0].work.signature)
        begun, worked = time.perf_counter(), time.thread_time()
        answers = self._answers(jobs)
        if policy:
            policy.record(time.perf_counter() - begun, time.thread_time() - worked)
        return answers

    def _answers(self, jobs: Sequence[Job]) -> list[Any]:
        """Each job's answer, or the RequestError by which it failed."""
        self.counts.requests += len(jobs)
        if len(jobs) == 1 and not self._limits.allowed_rows:
            return [self._alone(jobs[0])]
        name = jobs[0].work.signature
        works = [job.work for job in jobs]
        try:
            self.counts.runs += 1
            together = works[0].run(works, self._filling(sum(work.rows for work in works)))
        except Exception as error:
            if isinstance(error, NotOneRowEach):
                self._proofs[name] = -1
            # One bad row fails the whole run; alone, only who sent it fails.
            return [self._alone(job) for job in jobs]
        if len(jobs) == 1:
            return together
        self.counts.shared += 1
        if self._proofs.get(name, 0) >= _PROOFS:
            return together
        alone = [self._alone(job) for job in jobs]
        agree = all(_close(a, b) for a, b in zip(together, alone, strict=True))
        self._proofs[name] = self._proofs.get(name, 0) + 1 if agree else -1
        if not agree:
            _log.warning(
                "%s: signature %s answers otherwise when requests are batched; it is not any more", self._name, name
            )
        return alone

    def _alone(self, job: Job) -> Any:
        self.counts.runs += 1
        try:
            return job.work.run([job.work], 0)[0]
        except Exception as error:
            return from_exception(error)

    def _filling(self, rows: int) -> int:
        """Rows to add, so that a run has an allowed size."""
        allowed = self._limits.allowed_rows
        position = bisect.bisect_left(allowed, rows)
        return allowed[position] - rows if position < len(allowed) else 0

    def _deliver(self, jobs: Sequence[Job], answers: Sequence[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, jobs, answers)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _log.debug("%s: %d answers for nobody", self._name, len(answers))


def _close(together: Tensors, alone: Tensors | RequestError) -> bool:
    return not isinstance(alone, RequestError) and all(same(together[name], alone[name]) for name in together)
