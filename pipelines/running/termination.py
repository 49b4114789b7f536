"""End a process in order after a signal: first its children, then the work in progress, then the process itself."""

from __future__ import annotations

import os
import signal
from types import FrameType

from benison.components import processes
from benison.pipelines.running import live_log


class Terminated(SystemExit):
    """This process got SIGTERM or SIGINT. It is a SystemExit, because asyncio and TFX do not catch that."""

    def __init__(self, name: str) -> None:
        super().__init__(1)
        self.reason = f"ended by {name}"

    def end_children(self) -> None:
        """End all descendants of this process that are still running."""
        spared = live_log.tee_processes()
        processes.terminate(pid for pid in processes.process_tree(os.getpid())[1:] if pid not in spared)


def interrupt_on_signals() -> None:
    """Let SIGTERM, as when a container is stopped, and a closed terminal do the same as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def hang_up(number: int, frame: FrameType | None) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in terminals:  # it is gone: whoever prints there gets an error, also while cleaning up
            os.dup2(nowhere, terminal)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, hang_up)


_received: list[int] = []


def was_signalled() -> bool:
    """Return True once this process has got SIGTERM or SIGINT."""
    return bool(_received)


def install_handlers() -> None:
    """Make the first SIGTERM or SIGINT raise `Terminated` in the main thread; later ones are ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    _received.append(number)
    raise Terminated(signal.Signals(number).name)
