"""The runner's side of its worker processes: start them, send requests, notice their death, end them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benison.components import forks, legacy_keras, modules
from benison.pipelines.records import temporary as temporary_files
from benison.serving import errors

_PATIENCE = 3.0  # seconds between TERM and KILL
# Does the same as `python -m benison.pipelines.worker`, but imports from the runner's folders in the runner's order.
# PYTHONPATH, which is for the processes that a node starts, puts the user's folders before the standard library.
_START = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop())
runpy.run_module("benison.pipelines.worker", run_name="__main__", alter_sys=True)
"""


class WorkerDied(errors.NodeFailed):
    """The process ended without an answer."""


class Worker:
    """One worker process and its pipe. It runs one request at a time; `fileno` becomes readable with the answer.

    Args:
        temporary: folder for its temporary files and those of its children; None: the one of this process.
    """

    def __init__(self, temporary: Path | None = None) -> None:
        environment = {
            **legacy_keras.environment_for_child(),
            **({temporary_files.VARIABLE: str(temporary)} if temporary else {}),
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.pathsep.join(modules.import_path()),
        }
        # Its own session: Ctrl-C reaches only the runner, which then ends the whole group, including Beam's children.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps([os.path.abspath(entry) for entry in sys.path])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )

    def fileno(self) -> int:
        """Return the file descriptor of the pipe with the answers, for a selector."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, **request: Any) -> None:
        """Send one request.

        Raises:
            WorkerDied: the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._death() from None

    def receive(self) -> dict[str, Any]:
        """Wait for the answer.

        Raises:
            WorkerDied: the process ended without an answer; the message names the signal or the exit code.
            BenisonError: the request failed; this is the error that the worker raised.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        answer = json.loads(line)
        if "error" in answer:
            raise getattr(errors, answer["kind"], errors.NodeFailed)(answer["error"])
        return dict(answer["ok"])

    def end(self) -> None:
        """End the process and its children: TERM, a short wait, KILL."""
        end_workers([self])

    def signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, for at most so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(seconds, 0))

    def close(self) -> None:
        """Close the pipes."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _death(self) -> WorkerDied:
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return WorkerDied("the worker process closed its pipe")
        return WorkerDied(f"the worker process {forks.how_it_ended(code)}")


def end_workers(workers: Collection[Worker]) -> None:
    """End workers and their children, all at the same time: TERM, a short wait, KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for worker in workers:
            worker.signal(number)
        until = time.monotonic() + _PATIENCE
        for worker in workers:
            worker.wait(until - time.monotonic())
    for worker in workers:
        worker.close()


def first_ready(workers: list[Worker]) -> Worker:
    """Wait until one of the workers has an answer or has died, and return it."""
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            selector.register(worker, selectors.EVENT_READ)
        ready = selector.select()[0][0].fileobj
    assert isinstance(ready, Worker)
    return ready


def last_lines(log: Path, reason: str = "", count: int = 12) -> list[str]:
    """Return the last lines of a node's log that are not empty, to show after a failure.

    Args:
        log: the log.
        reason: the reason for the failure, which is shown beside them; lines that repeat it are left out.
        count: the largest number of lines.
    """
    if not log.is_file():
        return []
    told = " ".join(reason.split())
    lines = (line for line in log.read_text(errors="replace").splitlines() if line.strip())
    return [line for line in lines if _message(line) not in told][-count:]


def _message(line: str) -> str:
    """Return a line without the dotted name of the exception that it may begin with."""
    return re.sub(r"^(?:\w+\.)+\w+: ", "", " ".join(line.split()))
