"""Everything temporary of a run is in one folder, which goes with the run, or after a kill at the next start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benison.components import processes
from benison.pipelines.records import temporary

# Makes a temporary folder, with a file and a process that uses it, and waits to be killed.
_WORKS = """
import subprocess, sys, tempfile, time
from pathlib import Path
from benison.pipelines.records import temporary
with temporary.folder(Path(sys.argv[1]), "p-1", *sys.argv[2:]) as own, temporary.use(own):
    tempfile.mkstemp()
    print(own, subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True).pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def killed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Path, int]]:
    """The folder of a killed process, and a process that it has left behind."""
    command = [sys.executable, "-c", _WORKS, str(tmp_path / "root"), *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        folder, child = process.stdout.readline().split()
        process.kill()
    yield Path(folder), int(child)
    processes.terminate([int(child)])


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "tmp").iterdir())


@pytest.mark.parametrize("killed", [(), ("Trainer.deep",)], indirect=True, ids=["run", "part of a run"])
def test_what_a_killed_process_has_left_goes_at_the_next_start(killed: tuple[Path, int], tmp_path: Path) -> None:
    folder, child = killed
    assert len(list(folder.iterdir())) == 2
    assert processes.start_time(child) is not None
    with temporary.folder(tmp_path / "root", "p-2"):
        assert names(tmp_path / "root") == ["p-2"]
    assert processes.start_time(child) is None


def test_folders_in_use_stay_and_go_with_their_process(tmp_path: Path) -> None:
    with temporary.folder(tmp_path, "p-1") as run, temporary.folder(tmp_path, "p-2", "A") as node:
        for own in (run, node):
            (own / "folder").mkdir()
        with temporary.folder(tmp_path, "p-2", "A") as retry:
            assert retry.parent == node.parent == tmp_path / "tmp/p-2"
            temporary.sweep(tmp_path)
            assert retry.is_dir()
        assert [path.exists() for path in (run / "folder", node / "folder", retry)] == [True, True, False]
    assert names(tmp_path) == []


def test_nobody_else_can_read_a_temporary_folder(tmp_path: Path) -> None:
    with temporary.folder(tmp_path, "p-1") as run, temporary.folder(tmp_path, "p-2", "A") as node:
        assert [path.stat().st_mode & 0o777 for path in (run, node)] == [0o700, 0o700]


def test_a_process_that_outlives_its_run_is_ended_with_it(tmp_path: Path) -> None:
    with temporary.folder(tmp_path, "p-1") as own, temporary.use(own):
        left = subprocess.Popen(["sleep", "600"])
    assert left.wait(30) != 0


def test_files_go_into_the_folder_while_it_is_used(tmp_path: Path) -> None:
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with temporary.use(tmp_path):
        assert tempfile.gettempdir() == str(tmp_path)
        assert subprocess.check_output(["sh", "-c", "echo $TMPDIR"], text=True).strip() == str(tmp_path)
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before


def test_python_finds_a_place_for_its_sockets_where_the_path_is_too_long_for_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    script = (
        "import multiprocessing, sys\nfrom pathlib import Path\nfrom benison.pipelines.records import temporary\n"
        "if __name__ == '__main__':\n"
        "    with temporary.use(Path(sys.argv[1])), multiprocessing.Manager() as manager:\n"
        "        manager.list([1]).append(2)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(deep)], check=True, timeout=60)
    assert list(deep.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_a_command_without_a_run_has_its_folder_in_root_if_there_is_one(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    if exists:
        root.mkdir()
    with temporary.for_command(root, "trial") as own:
        assert own.is_relative_to(root if exists else elsewhere)
        with temporary.for_command(root, "trial"):
            assert own.is_dir()
    assert list(elsewhere.iterdir()) == []
    assert root.exists() is exists
    assert not exists or names(root) == []


def test_a_command_without_a_root_removes_the_folder_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "benison-of-somebody").mkdir()
    script = (
        "import os, signal\nfrom benison.pipelines.records import temporary\n"
        "with temporary.for_command(None, 'trial'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, timeout=60)
    assert len(list(tmp_path.iterdir())) == 2
    with temporary.for_command(None, "trial"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["benison-of-somebody"]
