"""A function that runs in a fork cannot harm this process, and is ended when it takes too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from benison.components import processes
from benison.pipelines.running import forked
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests may have started threads


KILLED = "the process was killed by SIGKILL; the kernel does this when memory runs out"


def fail() -> Any:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda: ["x" * 200_000], forked.ForkResult(["x" * 200_000])),
        (fail, forked.ForkResult(reason="the process ended with exit code 1")),
        (lambda: os._exit(3), forked.ForkResult(reason="the process ended with exit code 3")),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), forked.ForkResult(reason=KILLED)),
    ],
)
def test_the_result_is_the_value_or_the_reason_why_there_is_none(function: Any, expected: forked.ForkResult) -> None:
    assert forked.call(function, seconds=60) == expected


def test_a_function_that_takes_too_long_is_ended() -> None:
    assert forked.call(lambda: time.sleep(600), seconds=0.1).reason == "it takes longer than 0.1 seconds"


def test_a_process_that_the_function_leaves_behind_is_not_waited_for() -> None:
    def leave_behind() -> int:
        if pid := os.fork():
            return pid
        time.sleep(600)
        os._exit(0)

    pid = forked.call(leave_behind, seconds=60).value
    os.kill(pid, signal.SIGKILL)


_FORKS = """
import os, time
from benison.pipelines.running import forked
def work():
    print(os.getpid(), flush=True)
    time.sleep(600)
forked.call(work)
"""


def test_a_fork_ends_with_its_parent_even_if_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _FORKS], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        eventually(lambda: processes.start_time(child) is None)


def test_sigterm_ends_a_fork_at_once_even_if_its_parent_handles_it() -> None:
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        result = forked.call(lambda: os.kill(os.getpid(), signal.SIGTERM), seconds=60)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert result.reason == "the process was killed by SIGTERM"
