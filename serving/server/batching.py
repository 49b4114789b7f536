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
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serving.errors import UsageError
from serving.server import text_protos
from serving.server.engine import Engine, Tensors
from serving.server.inference import Call
from serving.server.status import Code, RequestError, from_exception, invalid

if TYPE_CHECKING:
    import numpy as np

_PROOFS = 8  # shared runs of a signature whose answers are compared with those of each request alone
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchLimits:
    """How requests are put together.

    Attributes:
        max_rows: of one run; a larger request runs alone.
        refuse_larger: whether it is refused instead, as TF Serving does where batching is enabled.
        timeout: how long the first request waits for others (seconds).
        max_queue: requests that may wait.
        threads: runs at the same time.
        allowed_rows: sizes to which a run is filled up; empty: any.
    """

    max_rows: int = 64
    refuse_larger: bool = False
    timeout: float = 0.0
    max_queue: int = 1024
    threads: int = 1
    allowed_rows: tuple[int, ...] = ()


def read_parameters(path: str, max_queue: int) -> tuple[BatchLimits, list[str]]:
    """The limits of --enable_batching: a text proto BatchingParameters, or TF Serving's defaults where path is empty.

    Args:
        path: of the file.
        max_queue: requests that may wait at most, whatever the file says.

    Returns:
        The limits, and a warning for each parameter that cannot be honoured.

    Raises:
        UsageError: the file cannot be read, or its sizes contradict each other.
    """
    if not path:
        return BatchLimits(max_rows=1000, refuse_larger=True, max_queue=max_queue), []
    proto = text_protos.read(path, text_protos.message_class("BatchingParameters")())
    max_rows = proto.max_batch_size.value if proto.HasField("max_batch_size") else 1000
    allowed = tuple(proto.allowed_batch_sizes)
    if max_rows < 1:
        raise UsageError(f"{path}: max_batch_size must be positive; was {max_rows}")
    if allowed and (list(allowed) != sorted(set(allowed)) or allowed[-1] != max_rows or allowed[0] < 1):
        raise UsageError(
            f"{path}: allowed_batch_sizes must rise and end with max_batch_size {max_rows}; got {list(allowed)}"
        )
    splits = proto.enable_large_batch_splitting.value
    waiting = (proto.max_enqueued_batches.value if proto.HasField("max_enqueued_batches") else 10) * max_rows
    limits = BatchLimits(
        max_rows=max_rows,
        refuse_larger=not splits,
        timeout=max(proto.batch_timeout_micros.value, 0) / 1e6,
        max_queue=max(min(waiting, max_queue), 1),
        threads=max(proto.num_batch_threads.value, 1),
        allowed_rows=allowed,
    )
    ignored = {
        "pad_variable_length_inputs": "requests of different inner shapes run apart",
        "enable_large_batch_splitting": "a larger request runs alone, in one piece",
    }
    return limits, [f"{path}: {name} is not honoured: {why}" for name, why in ignored.items() if _is_true(proto, name)]


@dataclass
class _Job:
    call: Call
    rows: int
    key: Any
    deadline: float
    future: asyncio.Future[Tensors]
    arrived: float = field(default_factory=time.monotonic)


@dataclass
class Counts:
    """What a version has done: requests answered or failed, runs, and those of them that several requests shared."""

    requests: int = 0
    runs: int = 0
    shared: int = 0


class Runner:
    """The queue and the threads of one loaded version. `submit` belongs to the event loop, `_work` to the threads."""

    def __init__(self, engine: Engine, limits: BatchLimits, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self.counts = Counts()
        self._engine = engine
        self._limits = limits
        self._loop = loop
        self._name = name
        self._queues: OrderedDict[Any, deque[_Job]] = OrderedDict()
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._proofs: dict[str, int] = {}  # shared runs that agreed, by signature; -1: they did not
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
        rows = _rows(call)
        if self._limits.refuse_larger and rows > self._limits.max_rows:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._limits.max_rows}")
        key = _key(call) if 0 < rows <= self._limits.max_rows else object()
        future: asyncio.Future[Tensors] = self._loop.create_future()
        job = _Job(call, rows, key, deadline, future)
        with self._changed:
            if self._waiting >= self._limits.max_queue:
                raise RequestError(
                    Code.UNAVAILABLE, f"The queue of {self._name} is full: {self._waiting} requests wait; try later"
                )
            self._queues.setdefault(key, deque()).append(job)
            self._waiting += 1
            self._changed.notify()
        return future

    def close(self) -> None:
        """Finishes what waits, ends the threads and unloads the version. Blocks."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._engine.close()

    def _work(self) -> None:
        while jobs := self._take():
            live = [job for job in jobs if self._wanted(job)]
            if live:
                self._deliver([job.future for job in live], self._answers(live))

    def _take(self) -> list[_Job]:
        """The next jobs for one run; none when there will be no more. Kinds of requests take turns."""
        with self._changed:
            while True:
                while not self._queues and not self._closed:
                    self._changed.wait()
                if not self._queues:
                    return []
                key, queue = next(iter(self._queues.items()))
                patience = queue[0].arrived + self._limits.timeout - time.monotonic()
                if patience <= 0 or self._closed or sum(job.rows for job in queue) >= self._limits.max_rows:
                    break
                self._changed.wait(patience)
            jobs = [queue.popleft()]
            rows = jobs[0].rows
            together = self._proofs.get(jobs[0].call.signature.name, 0) >= 0
            while together and queue and rows + queue[0].rows <= self._limits.max_rows:
                jobs.append(queue.popleft())
                rows += jobs[-1].rows
            del self._queues[key]
            if queue:
                self._queues[key] = queue
            self._waiting -= len(jobs)
            return jobs

    def _wanted(self, job: _Job) -> bool:
        """Whether anyone still waits for the answer; who waited too long is told so."""
        if job.future.done():  # cancelled, or out of time
            return False
        if time.monotonic() > job.deadline:
            self._deliver([job.future], [RequestError(Code.DEADLINE_EXCEEDED, "Timed out waiting in the queue")])
            return False
        return True

    def _answers(self, jobs: Sequence[_Job]) -> list[Tensors | RequestError]:
        self.counts.requests += len(jobs)
        if len(jobs) == 1 and not self._limits.allowed_rows:
            return [self._alone(jobs[0])]
        try:
            self.counts.runs += 1
            together = self._together(jobs)
        except Exception:
            # One bad row fails the whole run; alone, only who sent it fails.
            return [self._alone(job) for job in jobs]
        if len(jobs) == 1:
            return [together[0]]
        self.counts.shared += 1
        name = jobs[0].call.signature.name
        if self._proofs.get(name, 0) >= _PROOFS:
            return list(together)
        alone = [self._alone(job) for job in jobs]
        agree = all(_close(a, b) for a, b in zip(together, alone, strict=True))
        self._proofs[name] = self._proofs.get(name, 0) + 1 if agree else -1
        if not agree:
            _log.warning(
                "%s: signature %s answers otherwise when requests are batched; it is not any more", self._name, name
            )
        return alone

    def _alone(self, job: _Job) -> Tensors | RequestError:
        self.counts.runs += 1
        try:
            return self._engine.run(job.call.signature, job.call.inputs, job.call.outputs)
        except Exception as error:
            return from_exception(error)

    def _together(self, jobs: Sequence[_Job]) -> list[Tensors]:
        """One run for several jobs of the same key.

        Raises:
            Exception: TensorFlow's, or a ValueError where the outputs have not one row per row of input.
        """
        import numpy as np

        call = jobs[0].call
        total = sum(job.rows for job in jobs)
        filling = self._filling(total)
        inputs = {
            name: np.concatenate([job.call.inputs[name] for job in jobs] + [call.inputs[name][:1]] * filling)
            for name in call.signature.inputs
        }
        outputs = self._engine.run(call.signature, inputs, call.outputs)
        wrong = [name for name, values in outputs.items() if values.ndim == 0 or values.shape[0] != total + filling]
        if wrong:
            self._proofs[call.signature.name] = -1
            raise ValueError(f"{', '.join(wrong)}: not one row per row of input")
        ends = np.cumsum([job.rows for job in jobs]).tolist()
        return [
            {name: values[end - job.rows : end] for name, values in outputs.items()}
            for job, end in zip(jobs, ends, strict=True)
        ]

    def _filling(self, rows: int) -> int:
        """Rows to add, so that a run has an allowed size."""
        allowed = self._limits.allowed_rows
        position = bisect.bisect_left(allowed, rows)
        return allowed[position] - rows if position < len(allowed) else 0

    def _deliver(self, futures: Sequence[asyncio.Future[Tensors]], answers: Sequence[Tensors | RequestError]) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, futures, answers)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _log.debug("%s: %d answers for nobody", self._name, len(answers))


def _settle(futures: Sequence[asyncio.Future[Tensors]], answers: Sequence[Tensors | RequestError]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, RequestError):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _rows(call: Call) -> int:
    """Rows of a request that may share a run; 0 if it may not."""
    if not call.signature.batched:
        return 0
    sizes = {values.shape[0] if values.ndim else 0 for values in call.inputs.values()}
    return sizes.pop() if len(sizes) == 1 else 0


def _key(call: Call) -> Any:
    """Equal for requests that may share a run: the same question about rows of the same shape."""
    shapes = tuple(call.inputs[name].shape[1:] for name in call.signature.inputs)
    return call.signature.name, call.outputs, shapes


def _close(together: Tensors, alone: Tensors | RequestError) -> bool:
    return not isinstance(alone, RequestError) and all(_same(together[name], alone[name]) for name in together)


def _same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Equal but for the last bits: a matrix product of more rows may add in another order."""
    import numpy as np

    if a.shape != b.shape:
        return False
    if a.dtype.kind in "fc":
        return bool(np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True))
    return bool(np.array_equal(a, b))


def _is_true(proto: Any, name: str) -> bool:
    value = getattr(proto, name)
    return bool(getattr(value, "value", value))
