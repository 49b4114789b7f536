"""Which requests a version takes on: those that wait too long for it are better told so at once.

A queue that is only bounded by its length is full all the time once there is more load than the version can take, and
then everybody waits as long as the last in it. So once requests have had to wait for a while, the queue is kept short.
(The idea is CoDel's, which goes by the time in the queue, not by its length: Nichols and Jacobson, "Controlling Queue
Delay", ACM Queue 10(5), 2012; here who comes is refused, none is dropped who waits.)
"""

from __future__ import annotations

_LONG = 0.05  # seconds; a queue whose first requests waited no longer is fine
_PATIENCE = 0.25  # seconds; a burst that is worked off by then is none of our business
_ALWAYS = 64  # requests may wait, whatever they cost
_SHORT_WAIT = 0.1  # seconds; a wait that is no reason to refuse anybody
_BURST_WAIT = 0.5  # seconds; a burst that takes longer to work off is not taken on whole
_WEIGHT = 0.2  # of the newest run in the averages


class Admission:
    """What one queue may hold, by what was lately taken out of it.

    Times are on one clock that does not go back (seconds). Nothing here locks: who has the queue's lock calls it.
    """

    def __init__(self, most: int) -> None:
        """Nothing waits yet.

        Args:
            most: requests that wait; never more than that.
        """
        self._most = most
        self._waiting_since = float("inf")  # the first run whose requests had waited long, if those of all since had
        self._taken_at = 0.0
        self._taken = 0.0
        self._per_run = 0.0
        self._pace = 0.0  # requests per second; 0: there never was enough to do to tell

    def took(self, count: int, waited: float, now: float) -> None:
        """A run takes its requests out of the queue.

        Args:
            count: of them.
            waited: how long the first of them did (seconds), beside the time for which it was to wait for others.
            now: the time.
        """
        long = waited > _LONG
        if long and now > self._taken_at:  # else there may have been nothing to do for a part of that time
            self._pace = _average(self._pace, self._taken / (now - self._taken_at))
        self._per_run = _average(self._per_run, count)
        self._taken, self._taken_at = float(count), now
        self._waiting_since = min(self._waiting_since, now) if long else float("inf")

    def refuses(self, waiting: int, now: float) -> bool:
        """Whether one more is too many.

        Args:
            waiting: those that wait already.
            now: the time.
        """
        if waiting >= self._most:
            return True
        if now - self._waiting_since > _PATIENCE:
            return waiting >= max(_ALWAYS, self._per_run, self._pace * _SHORT_WAIT)
        return self._pace > 0 and waiting >= max(_ALWAYS, 2 * self._per_run, self._pace * _BURST_WAIT)


def _average(before: float, new: float) -> float:
    return before + _WEIGHT * (new - before) if before else new
