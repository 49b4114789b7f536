"""Decides whether a signature runs on the event loop: this saves a thread, but a long run delays all other requests."""

from __future__ import annotations

MAX_RUN_SECONDS = 0.005  # CPU time of a run; a status page or a new connection can wait this long
_MAX_WALL_SECONDS = 0.05  # a busy machine may pause a run, but a model that blocks must not stay on the loop
_FIRST_PROBATION_RUNS = 64  # short runs in a thread before the loop is tried again; doubles each time
_MAX_PROBATION_RUNS = 1 << 16


class InlinePolicy:
    """Leaves the loop at the first long run and returns after enough short ones, twice as many each time."""

    def __init__(self, inline: bool, single_threaded: bool = True) -> None:
        """Decide where the first run happens.

        Args:
            inline: whether runs may be on the loop at all.
            single_threaded: whether the calling thread does all the work of a run.
        """
        self.inline = inline
        self._single_threaded = single_threaded
        self.moves = 0
        self._may_be_inline = inline
        self._short_runs = 0
        self._probation_runs = _FIRST_PROBATION_RUNS

    def record(self, wall_seconds: float, cpu_seconds: float) -> None:
        """Record how long a run took, on the loop or in a thread.

        Args:
            wall_seconds: elapsed time (seconds).
            cpu_seconds: CPU time of the thread that made the run (seconds).
        """
        if not self._may_be_inline:
            return
        if (
            cpu_seconds if self._single_threaded else wall_seconds
        ) > MAX_RUN_SECONDS or wall_seconds > _MAX_WALL_SECONDS:
            self._short_runs = 0
            if self.inline:
                self.inline = False
                self.moves += 1
            return
        self._short_runs += 1
        if not self.inline and self._short_runs >= self._probation_runs:
            self._probation_runs = min(2 * self._probation_runs, _MAX_PROBATION_RUNS)
            self.inline = True
