"""Ending processes of this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benison.components import processes

_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "600"]).pid, flush=True)
signal.pause()
"""
_PARENT_OF_A_ZOMBIE = """
import subprocess, time
child = subprocess.Popen(["true"])  # a Popen that is dropped may collect the exit code
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def zombie() -> Iterator[int]:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT_OF_A_ZOMBIE], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    deadline = time.monotonic() + 30
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield pid
    parent.kill()
    parent.wait()
    parent.stdout.close()


def test_a_process_tree_is_the_process_and_all_that_descend_from_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    assert processes.process_tree(process.pid) == [process.pid, child]
    assert {process.pid, child} < set(processes.process_tree(os.getpid()))
    processes.terminate([process.pid, child], 0.1)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL  # because it ignores SIGTERM
    assert processes.start_time(child) is None


def test_the_exit_code_of_a_child_is_left_for_its_popen() -> None:
    process = subprocess.Popen(["sleep", "600"])
    processes.terminate([process.pid])
    assert process.wait() == -signal.SIGTERM


def test_a_process_that_has_ended_is_skipped() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    processes.terminate([process.pid])
    assert processes.start_time(process.pid) is None
    assert processes.process_tree(process.pid) == [process.pid]
    assert processes.environment(process.pid) == {}
    assert not processes.has_open(process.pid, Path("/dev/null"))


def test_a_zombie_counts_as_ended_and_is_not_waited_for(zombie: int) -> None:
    assert processes.start_time(zombie) is None
    start = time.monotonic()
    processes.terminate([zombie], 60)
    assert time.monotonic() - start < 30


def test_open_files_and_the_environment_of_a_process_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file:
        process = subprocess.Popen(["sleep", "600"], stdout=file, env={"BENISON_MARK": "a b=c"})
    try:
        assert processes.has_open(process.pid, path)
        assert not processes.has_open(process.pid, tmp_path / "other")
        assert processes.environment(process.pid) == {"BENISON_MARK": "a b=c"}
        assert processes.start_time(process.pid) >= processes.start_time(os.getpid())
        assert process.pid in processes.all_ids()
    finally:
        processes.terminate([process.pid])
        process.wait()
