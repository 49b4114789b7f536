"""The guard ends all processes that it started, whatever its caller, the command or its children do."""

from __future__ import annotations

import contextlib
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.waiting import eventually

GUARD = Path(__file__).parents[3] / "dags/benison_guard.py"

# Children in the command's group, in their own sessions, with an empty environment, with a dead parent, and one that
# ignores SIGTERM. Each writes its process id before it sleeps.
FAMILY = """
import os, subprocess, sys, time
folder = sys.argv[1]
sleeper = '''
import os, signal, sys, time
if sys.argv[2] == "stubborn": signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = os.path.join(sys.argv[1], sys.argv[2])
with open(path + ".new", "w") as file: file.write(str(os.getpid()))
os.rename(path + ".new", path)
time.sleep(600)
'''
def start(name, **options):
    return subprocess.Popen([sys.executable, "-c", sleeper, folder, name], **options)
start("same-group")
start("own-session", start_new_session=True, env={})
start("stubborn", start_new_session=True)
if os.fork() == 0:
    os.setsid()
    start("orphan", start_new_session=True)
    os._exit(0)
os.wait()
while len([name for name in os.listdir(folder) if not name.endswith(".new")]) < 4:
    time.sleep(0.02)
"""
NAMES = ("same-group", "own-session", "stubborn", "orphan")


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start guards; closing their pipes at the end of the test ends them."""
    with contextlib.ExitStack() as stack:

        def start_one(*command: str, patience: float = 0.5) -> subprocess.Popen[str]:
            guarded = [sys.executable, "-I", str(GUARD), str(patience), *command]
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(guarded, text=True, stdin=pipe, stdout=pipe, stderr=pipe))

        yield start_one


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def family(start: Start, folder: Path, ending: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a guard for a command, and wait until all its children run."""
    process = start(sys.executable, "-c", FAMILY + ending, str(folder))
    eventually(lambda: all((folder / name).exists() for name in NAMES))
    return process, [int((folder / name).read_text()) for name in NAMES]


@pytest.mark.parametrize("code", [0, 1, 2, 4])
def test_the_exit_code_is_the_commands(code: int, start: Start) -> None:
    process = start(sys.executable, "-c", f"print('out'); raise SystemExit({code})")
    assert process.stdout is not None
    assert process.stdout.read() == "out\n"
    assert process.wait(30) == code


def test_the_exit_code_after_a_signal_is_the_shells(start: Start) -> None:
    process = start(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert process.wait(30) == 128 + signal.SIGKILL


@pytest.mark.parametrize("patience", [0.3, 5])
def test_a_command_whose_first_thread_has_ended_is_ended_too(patience: float, start: Start) -> None:
    """As in a killed TensorFlow: the kernel shows a zombie while other threads run, and there is no exit code yet."""
    exit_of_a_thread = {"x86_64": 60, "aarch64": 93}[platform.machine()]
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('ready', flush=True)\n"
        f"ctypes.CDLL(None).syscall({exit_of_a_thread}, 0)\n"
    )
    process = start(sys.executable, "-c", script, patience=patience)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    end_of_stdin(process)
    assert process.wait(30) in (128 + signal.SIGTERM, 128 + signal.SIGKILL)
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_a_command_that_does_not_exist_is_named(start: Start) -> None:
    process = start("/no/such/python")
    assert process.stderr is not None
    assert process.stderr.read() == "/no/such/python: No such file or directory\n"
    assert process.wait(30) == 127


def end_of_stdin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def term(process: subprocess.Popen[str]) -> None:
    process.terminate()


@pytest.mark.parametrize("ask", [end_of_stdin, term])
def test_when_the_caller_goes_or_asks_all_descendants_end(
    ask: Callable[..., None], start: Start, tmp_path: Path
) -> None:
    process, children = family(start, tmp_path, "time.sleep(600)")
    ask(process)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert [child for child in children if lives(child)] == []


def test_what_a_command_leaves_behind_ends_with_it(start: Start, tmp_path: Path) -> None:
    process, children = family(start, tmp_path, "raise SystemExit(4)")
    assert process.wait(30) == 4
    assert [child for child in children if lives(child)] == []


def test_a_killed_caller_takes_all_descendants_with_it(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-I", str(GUARD), "0.5", sys.executable, "-c", FAMILY + "time.sleep(600)"]
    caller = subprocess.Popen([sys.executable, "-c", script, *command, str(tmp_path)])
    eventually(lambda: all((tmp_path / name).exists() for name in NAMES))
    children = [int((tmp_path / name).read_text()) for name in NAMES]
    caller.kill()
    caller.wait()
    eventually(lambda: not any(lives(child) for child in children))


def test_a_command_has_time_to_end_after_sigterm(start: Start, tmp_path: Path) -> None:
    """The command can record its failure, and its exit code is returned."""
    script = (
        "import pathlib, signal, sys, time\n"
        "def on_term(*_):\n"
        f"    pathlib.Path({str(tmp_path / 'tidied')!r}).write_text('yes'); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, on_term); print('ready', flush=True); time.sleep(600)\n"
    )
    process = start(sys.executable, "-c", script, patience=30)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.wait(30) == 1
    assert (tmp_path / "tidied").read_text() == "yes"
