"""The queues of requests that run in threads: which run may begin now, and which runs nobody waits for.

Requests of one key share a run, so a key has one run at a time, unless those that wait fill another one. Other runs go
side by side:

- Each lane may always have one run. Requests for a signature are in one lane; its large requests are in another.
- More runs of a lane begin while fewer runs than there are cores are in progress.
- Requests for signatures that write are in one lane and run one at a time, because they share what they write.

So a short request never waits for long runs of another signature, or for large requests.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from benison.serving.server.batching.jobs import Job, take_run

WRITERS = "writers"  # the lane of all signatures that write


@dataclass
class Queue:
    """Requests that wait for runs of one kind.

    Attributes:
        lane: see above.
        shares: whether several requests share a run.
        jobs: the requests, the oldest first.
    """

    lane: Hashable
    shares: bool
    jobs: deque[Job] = field(default_factory=deque)


@dataclass(eq=False)
class Run:
    """A run in a thread.

    Attributes:
        jobs: its requests.
        key: the key of its queue; None for requests that waited for the event loop.
        queue: the queue.
        stops_at: time.monotonic() at which the engine stops it, if it can.
        hung: whether it counts as hung: then others may run in its place.
    """

    jobs: list[Job]
    key: Hashable
    queue: Queue
    stops_at: float = float("inf")
    hung: bool = False

    def is_abandoned(self) -> bool:
        """Return whether no client waits for an answer."""
        return all(job.is_done() for job in self.jobs)


class ThreadQueues:
    """The queues and the runs of one version. The caller holds a lock."""

    def __init__(self, max_rows: int, timeout: float, parallel: int, exclusive: bool) -> None:
        """Start with empty queues.

        Args:
            max_rows: the number of rows that fill a run.
            timeout: how long the first request that may share a run waits for others (seconds).
            parallel: the number of runs that go side by side, whatever their lanes.
            exclusive: whether the engine can make only one run at a time.
        """
        self.runs: set[Run] = set()
        self._queues: OrderedDict[Hashable, Queue] = OrderedDict()
        self._max_rows = max_rows
        self._timeout = timeout
        self._parallel = parallel
        self._exclusive = exclusive
        self._running: Counter[Hashable] = Counter()  # by lane
        self._keys: Counter[Hashable] = Counter()
        self._busy = 0

    def __bool__(self) -> bool:
        """Return whether requests wait."""
        return bool(self._queues)

    def add(self, key: Hashable, lane: Hashable, shares: bool, job: Job) -> None:
        """Queue a request."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue(lane, shares)
        queue.jobs.append(job)

    def next_key(self, now: float, closed: bool) -> tuple[Hashable | None, float]:
        """Find the queue whose run may begin now.

        Args:
            now: the current time.
            closed: whether no request follows, so that none is waited for.

        Returns:
            The key of the queue, or None; and the seconds until one may begin, if that is only a matter of time.
        """
        soonest = float("inf")
        for key, queue in self._queues.items():
            if not self._may_begin(key, queue):
                continue
            remaining = queue.jobs[0].arrived + self._timeout - now if queue.shares else 0.0
            if remaining <= 0 or closed or self._is_full(queue):
                return key, 0.0
            soonest = min(soonest, remaining)
        return None, soonest

    def begin(self, key: Hashable) -> Run:
        """Take the requests of a run out of their queue. Keys take turns."""
        queue = self._queues.pop(key)
        jobs = take_run(queue.jobs, self._max_rows) if queue.shares else [queue.jobs.popleft()]
        if queue.jobs:
            self._queues[key] = queue
        return self._started(Run(jobs, key, queue))

    def begin_with(self, jobs: list[Job]) -> Run:
        """Begin a run of requests that waited for the event loop."""
        return self._started(Run(jobs, None, Queue(None, False)))

    def end(self, run: Run) -> None:
        """Record the end of a run."""
        self.runs.discard(run)
        if not run.hung:
            self._count(run, -1)

    def set_hung(self, run: Run) -> None:
        """Let others run in the place of a run that does not end."""
        run.hung = True
        self._count(run, -1)

    def take_all(self) -> Iterator[Job]:
        """Take all waiting requests out of their queues."""
        while self._queues:
            yield from self._queues.popitem()[1].jobs

    def _started(self, run: Run) -> Run:
        self.runs.add(run)
        self._count(run, 1)
        return run

    def _count(self, run: Run, change: int) -> None:
        self._busy += change
        for counter, name in ((self._running, run.queue.lane), (self._keys, run.key)):
            counter[name] += change
            if not counter[name]:
                del counter[name]

    def _may_begin(self, key: Hashable, queue: Queue) -> bool:
        if self._exclusive and self._busy:
            return False
        if self._running[queue.lane] and (queue.lane == WRITERS or self._busy >= self._parallel):
            return False
        return not (queue.shares and self._keys[key]) or self._is_full(queue)

    def _is_full(self, queue: Queue) -> bool:
        rows = 0
        for job in queue.jobs:
            rows += job.task.rows
            if rows >= self._max_rows:
                return True
        return False
