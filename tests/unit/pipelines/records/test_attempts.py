"""Only one attempt at a node runs at a time: a later attempt ends the processes of the earlier one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benison.components import processes
from benison.pipelines.records import attempts

# An attempt with a child in another session. It prints the child's id and waits for it.
_AT_WORK = """
import subprocess, sys
from pathlib import Path
from benison.pipelines.records import attempts
from benison.pipelines.running import termination
termination.install_handlers()
with attempts.sole_attempt(Path(sys.argv[1]), "Trainer.deep"):
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True)
    print(child.pid, flush=True)
    try:
        child.wait()
    except termination.Terminated as end:
        end.end_children()
        sys.exit(7)
"""
# A later attempt. It prints which processes are still alive, and ends.
_LATER = """
import sys
from pathlib import Path
from benison.components import processes
from benison.pipelines.records import attempts
with attempts.sole_attempt(Path(sys.argv[1]), sys.argv[2]):
    print([pid for pid in map(int, sys.argv[3:]) if processes.start_time(pid) is not None])
"""


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen([sys.executable, "-c", _AT_WORK, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process, child
    processes.terminate([process.pid, child])
    process.wait()
    process.stdout.close()


def _later(folder: Path, node: str, *pids: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _LATER, str(folder), node, *map(str, pids)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


def test_a_running_attempt_is_under_way(at_work, tmp_path: Path) -> None:
    assert attempts.is_under_way(tmp_path, "Trainer.deep")
    assert attempts.any_under_way(tmp_path)
    assert not attempts.is_under_way(tmp_path, "Trainer.linear")


def test_a_later_attempt_ends_a_live_one_with_its_children(at_work, tmp_path: Path) -> None:
    process, child = at_work
    done = _later(tmp_path, "Trainer.deep", process.pid, child)
    assert done.stdout == "[]\n"
    assert f"Trainer.deep: ending an earlier attempt, process {process.pid}" in done.stderr
    assert process.wait(10) == 7  # it had time to end in order
    assert not attempts.any_under_way(tmp_path)


def test_a_later_attempt_ends_the_orphans_of_a_killed_one(at_work, tmp_path: Path) -> None:
    process, child = at_work
    process.kill()
    process.wait()
    assert processes.start_time(child) is not None
    assert _later(tmp_path, "Trainer.deep", child).stdout == "[]\n"


def test_an_attempt_at_another_node_is_not_ended(at_work, tmp_path: Path) -> None:
    process, child = at_work
    assert _later(tmp_path, "Trainer.linear", process.pid, child).stdout == f"[{process.pid}, {child}]\n"


def test_the_mark_is_removed_after_the_attempt(tmp_path: Path) -> None:
    with attempts.sole_attempt(tmp_path, "Pusher"):
        assert os.environ[attempts.MARK] == str(tmp_path / ".Pusher.attempt")
    assert attempts.MARK not in os.environ
