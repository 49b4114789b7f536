"""Locks in ROOT: one run per pipeline, no pruning while nodes run, and measurements while no other node runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from benison.pipelines.records import attempts
from benison.serving.errors import UsageError
from benison.serving.files import file_lock

SCHEDULED = "scheduled.json"  # in the folder of a run whose nodes a scheduler starts
_TRIES, _BETWEEN_TRIES_S = 20, 0.01
_SILENCE_S = 600.0  # the longest pause between two nodes; longer than schedulers' usual retry delays


@contextmanager
def pipeline_lock(root: Path, name: str, run_id: str) -> Iterator[None]:
    """Keep a second run of the same pipeline out of ROOT. Runs of other pipelines share it.

    If a scheduler starts a run's nodes one by one, no process lives long enough to hold the lock for the whole run.
    The files in such a run's folder tell whether it is under way.

    Raises:
        UsageError: A run of this pipeline is under way; the message names it.
    """
    path = root / "runs" / f".{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        if not _try_lock(file):
            file.seek(0)
            raise _refusal(root, name, file.read().strip() or "of another process")
        scheduled = next((other for other in _scheduled(root, name) if other != run_id), None)
        if scheduled is not None:
            raise _refusal(root, name, scheduled)
        file.truncate(0)
        file.write(run_id)
        file.flush()
        yield


def is_under_way(root: Path, name: str, run_id: str) -> bool:
    """Return True while a run of a pipeline is under way; a run that was killed is not."""
    path = root / "runs" / f".{name}.lock"
    try:
        held = file_lock.is_locked(path) and path.read_text().strip() == run_id
    except OSError:
        held = False
    return held or _goes_on(root / "runs" / run_id, name)


def _try_lock(file: IO[str]) -> bool:
    """Lock a pipeline's file; `is_under_way` holds it for a moment in another process."""
    for _ in range(_TRIES):
        if file_lock.try_lock(file):
            return True
        time.sleep(_BETWEEN_TRIES_S)
    return False


def _refusal(root: Path, name: str, run_id: str) -> UsageError:
    return UsageError(f"{root}: run {run_id} of pipeline {name} is under way; wait for it or use another --root")


def _scheduled(root: Path, name: str) -> Iterator[str]:
    """Yield the unfinished runs of a pipeline whose nodes a scheduler starts."""
    return (mark.parent.name for mark in root.glob(f"runs/*/{SCHEDULED}") if _goes_on(mark.parent, name))


def _goes_on(folder: Path, name: str) -> bool:
    """Return True if a scheduler's run of a pipeline is unfinished; a silent one counts as given up."""
    if not (folder / SCHEDULED).is_file():
        return False
    try:
        run = json.loads((folder / "run.json").read_text())
        last = max(file.stat().st_mtime for file in folder.iterdir())
    except (OSError, ValueError):  # it is being removed, or is not a run
        return False
    if run.get("pipeline") != name or run.get("outcome") != "running":
        return False
    return time.time() - last < _SILENCE_S or attempts.any_under_way(folder)


@contextmanager
def node_lock(root: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold ROOT's node lock while a node runs: together with other nodes, or alone to prune what they have written."""
    path = root / ".nodes.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(path, shared=not exclusive):
        yield


def measuring_lock(root: Path) -> AbstractContextManager[Callable[[], AbstractContextManager[None]]]:
    """Hold ROOT's lock of measurements while a node runs, see `file_lock.hold_shared`.

    It is not the node lock: a node that waits to be alone gives up its share, and pruning would then remove what the
    node reads.
    """
    root.mkdir(parents=True, exist_ok=True)
    return file_lock.hold_shared(root / ".measuring.lock")
