"""An orderly end by a signal: children first, then what was being written is given up, then the process."""

from __future__ import annotations

import os
import signal
from types import FrameType

from benison.components import processes
from benison.pipelines.running import live_log


class Ended(SystemExit):
    """This process was told to end. A SystemExit, because asyncio and TFX let that one pass."""

    def __init__(self, name: str) -> None:
        super().__init__(1)
        self.reason = f"ended by {name}"

    def end_children(self) -> None:
        """Ends all that this process started and that is still there."""
        spared = live_log.copiers()
        processes.end(pid for pid in processes.family(os.getpid())[1:] if pid not in spared)


_told: list[int] = []


def told() -> bool:
    """Whether this process was told to end."""
    return bool(_told)


def listen() -> None:
    """From now on SIGTERM and SIGINT raise `Ended` in the main thread, once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    _told.append(number)
    raise Ended(signal.Signals(number).name)
