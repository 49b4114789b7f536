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
from tests.waiting import eventually

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
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
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
        eventually(lambda: processes.environment(process.pid) == {"BENISON_MARK": "a b=c"})
        assert processes.start_time(process.pid) >= processes.start_time(os.getpid())
        assert process.pid in processes.all_ids()
    finally:
        processes.terminate([process.pid])
        process.wait()


# Starts a process that ends with it, and says which.
_KILLED = """
import subprocess, sys, time
from benison.components import processes
command = processes.ending_with_this_process(["sh", "-c", "echo $$; exec sleep 600"])
print(subprocess.run(command[:-1] + ["echo $1"] + ["-", "runs"], capture_output=True, text=True).stdout.strip(), flush=True)
subprocess.Popen(command)
time.sleep(600)
"""
# Adopts a process that ignores SIGTERM, has a child, and whose parent has ended; then ends both.
_ADOPTS = """
import os, subprocess, time
from benison.components import processes
processes.adopt_orphans()
subprocess.run(["sh", "-c", "(trap '' TERM; sleep 600; true) &"], start_new_session=True)
while len(processes.process_tree(os.getpid())) < 3:
    time.sleep(0.01)
processes.end_descendants(0.2)
print(len(processes.process_tree(os.getpid())))
"""


def test_a_process_that_ends_with_its_parent_does_so_when_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "runs\n"
        child = int(parent.stdout.readline())
        assert processes.start_time(child) is not None
        parent.kill()
        parent.wait()
        eventually(lambda: processes.start_time(child) is None)


def test_orphans_are_found_and_ended_and_no_zombie_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", _ADOPTS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "1\n"
