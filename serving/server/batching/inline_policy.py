"""Whether a signature's runs are short enough for the event loop, where they cost no thread but hold up all else."""

from __future__ import annotations

LONGEST = 0.005  # seconds of work; what a status page or a new connection can well wait
_LONGEST_WAIT = 0.05  # seconds in all: a machine with much else to do may stop us, but a model that waits must not
_FIRST_PROBATION = 64  # short runs in a thread before the loop is tried again
_LONGEST_PROBATION = 1 << 16


class InlinePolicy:
    """Leaves the loop at the first long run; comes back after enough short ones, each time after twice as many."""

    def __init__(self, inline: bool, single_threaded: bool = True) -> None:
        """Where the first run is to be.

        Args:
            inline: whether it may be on the loop at all.
            single_threaded: whether a run's work is all in the thread that makes it.
        """
        self.inline = inline
        self._single_threaded = single_threaded
        self.moves = 0
        self._allowed = inline
        self._short = 0
        self._probation = _FIRST_PROBATION

    def record(self, seconds: float, work: float) -> None:
        """Notes how long a run took, wherever it was.

        Args:
            seconds: of the clock.
            work: seconds of the processor, in the thread that made the run.
        """
        if not self._allowed:
            return
        if (work if self._single_threaded else seconds) > LONGEST or seconds > _LONGEST_WAIT:
            self._short = 0
            if self.inline:
                self.inline = False
                self.moves += 1
            return
        self._short += 1
        if not self.inline and self._short >= self._probation:
            self._probation = min(2 * self._probation, _LONGEST_PROBATION)
            self.inline = True
