"""Locks in ROOT, held by open files: the kernel lets go of them when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benison.pipelines.records import attempts
from benison.serving.errors import UsageError

SCHEDULED = "scheduled.json"  # in the folder of a run whose nodes a scheduler starts
_SILENCE_S = 600.0  # between two of its nodes; longer than schedulers' usual retry delays


@contextmanager
def pipeline_lock(root: Path, name: str, run_id: str) -> Iterator[None]:
    """Keeps a second run of the same pipeline out of ROOT; others share it.

    A run whose nodes a scheduler starts one by one has no process that could hold the lock from its beginning to its
    end; it is under way by what stands in its folder.

    Raises:
        UsageError: a run of this pipeline is under way; names it.
    """
    path = root / "runs" / f".{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refusal(root, name, file.read().strip() or "of another process") from None
        scheduled = next((other for other in _scheduled(root, name) if other != run_id), None)
        if scheduled is not None:
            raise _refusal(root, name, scheduled)
        file.truncate(0)
        file.write(run_id)
        file.flush()
        yield


def _refusal(root: Path, name: str, run_id: str) -> UsageError:
    return UsageError(f"{root}: run {run_id} of pipeline {name} is under way; wait for it or give another --root")


def _scheduled(root: Path, name: str) -> Iterator[str]:
    """The runs of a pipeline that a scheduler has begun and not finished; one that fell silent it has given up."""
    for mark in root.glob(f"runs/*/{SCHEDULED}"):
        folder = mark.parent
        try:
            run = json.loads((folder / "run.json").read_text())
            last = max(file.stat().st_mtime for file in folder.iterdir())
        except (OSError, ValueError):  # it goes away, or is none
            continue
        if run.get("pipeline") != name or run.get("outcome") != "running":
            continue
        if time.time() - last < _SILENCE_S or attempts.under_way(folder):
            yield folder.name


@contextmanager
def node_lock(root: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Held by each node while it runs; a node that measures latency holds it alone."""
    path = root / ".nodes.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
