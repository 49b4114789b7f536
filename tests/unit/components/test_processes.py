"""Ending processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from benison.components import processes

_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
signal.pause()
"""


def test_a_family_is_the_process_and_all_that_descend_from_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    assert processes.family(process.pid) == [process.pid, child]
    assert {process.pid, child} < set(processes.family(os.getpid()))
    processes.end([process.pid, child], 0.1)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL  # because it takes no notice of TERM
    assert processes.started(child) is None


def test_a_process_that_has_ended_is_passed_over() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    processes.end([process.pid])
    assert processes.started(process.pid) is None
