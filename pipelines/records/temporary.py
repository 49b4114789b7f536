"""Temporary files: everything temporary of a run lies in one folder, ROOT/tmp/RUN, and goes with it.

TMPDIR of the processes that work for a run names the folder. Who made the folder holds a lock in it until it is
removed. So a folder whose lock is free is that of a killed process: the next start ends the processes that still have
it as their TMPDIR, and removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import process as python_process
from pathlib import Path

from benison.components import processes
from benison.serving.files import file_lock

FOLDER = "tmp"  # in ROOT
VARIABLE = "TMPDIR"
_PREFIX = "benison-"  # of folders in TMPDIR
_LOCK, _ROOT_LOCK = ".benison.lock", ".tmp.lock"
_LONGEST = 70  # characters; the path of a socket has at most 107, and Python's names for its sockets have 32


@contextmanager
def folder(root: Path, run_id: str, part: str = "") -> Iterator[Path]:
    """Create a temporary folder; when the block ends, end the processes that still use it, and remove it.

    Args:
        root: ROOT.
        run_id: the run's id.
        part: for one of several processes that work for a run, such as a node's id: the folder is a new one in that of
            the run.
    """
    sweep(root)
    path = root / FOLDER / run_id
    root.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(root / _ROOT_LOCK):
        path.mkdir(parents=True, exist_ok=bool(part), mode=0o777 if part else 0o700)
        if part:
            path = Path(tempfile.mkdtemp(prefix=f"{part}.", dir=path))
        lock = (path / _LOCK).open("a")
        file_lock.try_lock(lock)
    with lock:
        try:
            yield path
        finally:
            _remove(path)
            if part:
                with suppress(OSError), file_lock.hold(root / _ROOT_LOCK):
                    path.parent.rmdir()  # fails while other parts are in it


@contextmanager
def for_command(root: Path | None, name: str) -> Iterator[Path]:
    """Create a temporary folder for a command that runs no pipeline; if it cannot be in ROOT, it is in TMPDIR.

    Args:
        root: ROOT, which may not exist, or may be read-only; None for a command without a ROOT.
        name: what the folder is for.
    """
    if root is not None and os.access(root, os.W_OK):
        with folder(root, name, str(os.getpid())) as path:
            yield path
        return
    for old in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if (old / _LOCK).exists() and not _is_held(old):
            _remove(old)
    unlocked = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
    with (unlocked / _LOCK).open("a") as lock:
        file_lock.try_lock(lock)
        path = unlocked.rename(unlocked.with_name(unlocked.name[1:]))
        try:
            yield path
        finally:
            _remove(path)


def sweep(root: Path) -> None:
    """Remove the temporary folders of killed processes, and end the processes that these have left behind."""
    base = root / FOLDER
    if not base.is_dir() or not any(base.iterdir()):
        return
    with file_lock.hold(root / _ROOT_LOCK):
        for run in filter(Path.is_dir, base.iterdir()):
            parts = [run] if (run / _LOCK).exists() else [part for part in run.iterdir() if part.is_dir()]
            dead = [part for part in parts if not _is_held(part)]
            for path in dead if len(dead) < len(parts) else [*dead, run]:
                _remove(path)


def remove_abandoned() -> None:
    """Remove the temporary folder that this process was started with, if the process that made it was killed."""
    path = Path(os.environ.get(VARIABLE) or os.devnull)
    if (path / _LOCK).exists() and not _is_held(path):
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def use(path: Path) -> Iterator[None]:
    """Let this process, and the processes that it starts, put their temporary files into a folder."""
    former, known = os.environ.get(VARIABLE), tempfile.tempdir
    os.environ[VARIABLE] = tempfile.tempdir = str(path)
    try:
        with _sockets_in(path):
            yield
    finally:
        tempfile.tempdir = known
        os.environ.pop(VARIABLE)
        if former is not None:
            os.environ[VARIABLE] = former


@contextmanager
def _sockets_in(path: Path) -> Iterator[None]:
    """Give `multiprocessing` a short path of a folder whose own path is too long for a socket's name."""
    if len(str(path)) <= _LONGEST:
        yield
        return
    config = python_process.current_process()._config  # type: ignore[attr-defined]
    former = config.get("tempdir")
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY)
    config["tempdir"] = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        yield
    finally:
        config["tempdir"] = former
        os.close(descriptor)


def _is_held(path: Path) -> bool:
    try:
        return file_lock.is_locked(path / _LOCK)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True


def _remove(path: Path) -> None:
    processes.terminate(processes.started_with(VARIABLE, str(path)))
    shutil.rmtree(path, ignore_errors=True)
