"""Admission control: decides which requests a version accepts and which it refuses immediately.

Under overload, a queue that is limited only by its length is always full, and every request waits as long as the last
one. So once requests have waited too long for a while, the queue is kept short. The idea is CoDel's, which looks at the
time in the queue and not at its length (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012). Unlike
CoDel, this refuses new requests and never drops waiting ones.
"""

from __future__ import annotations

_LONG_WAIT = 0.05  # seconds; a queue whose first request waited no longer than this is healthy
_BURST_SECONDS = 0.25  # seconds; a burst that clears within this time is accepted
_ALWAYS_ADMITTED = 64  # requests that may always wait, whatever they cost
_SHORT_WAIT = 0.1  # seconds; the wait that requests may expect while the queue is congested
_BURST_WAIT = 0.5  # seconds; only the part of a burst that clears in this time is accepted
_MEASURED = 0.05  # seconds; the shortest time in which the speed is measured
_WEIGHT = 0.2  # weight of the newest run in the moving averages


class Admission:
    """The limit of one queue, derived from the most recent runs.

    All times are seconds on one monotonic clock. Nothing here locks: the caller holds the queue's lock.
    """

    def __init__(self, max_waiting: int) -> None:
        """Start with an empty queue.

        Args:
            max_waiting: the number of requests that may ever wait.
        """
        self._max_waiting = max_waiting
        self._congested_since = float("inf")  # start of the current streak of long waits
        self._measured_since = 0.0
        self._measured_requests = 0
        self._requests_per_run = 0.0
        self._rate = 0.0  # requests per second; 0 until the version was busy long enough to measure it

    def record_run(self, count: int, waited: float, now: float) -> None:
        """Record that a run took its requests out of the queue.

        Args:
            count: the number of requests in the run.
            waited: how long the first request waited (seconds), without the batch timeout.
            now: the current time.
        """
        waited_long = waited > _LONG_WAIT
        if waited_long and now - self._measured_since < _MEASURED:  # runs that go side by side may begin together
            self._measured_requests += count
        else:
            if waited_long:  # otherwise the version may have been idle in between
                self._rate = _average(self._rate, self._measured_requests / (now - self._measured_since))
            self._measured_requests, self._measured_since = count, now
        self._requests_per_run = _average(self._requests_per_run, count)
        self._congested_since = min(self._congested_since, now) if waited_long else float("inf")

    def refuses(self, waiting: int, now: float) -> bool:
        """Return whether one more request is too many.

        Args:
            waiting: the number of requests that wait already.
            now: the current time.
        """
        if waiting >= self._max_waiting:
            return True
        if waiting < _ALWAYS_ADMITTED:
            return False
        if now - self._congested_since > _BURST_SECONDS:
            return waiting >= max(_ALWAYS_ADMITTED, self._requests_per_run, self._rate * _SHORT_WAIT)
        return self._rate > 0 and waiting >= max(_ALWAYS_ADMITTED, 2 * self._requests_per_run, self._rate * _BURST_WAIT)


def _average(average: float, value: float) -> float:
    return average + _WEIGHT * (value - average) if average else value
