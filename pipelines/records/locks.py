"""Locks in ROOT: one run per pipeline, and nodes that measure latency alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benison.pipelines.records import attempts
from benison.serving.errors import UsageError
from benison.serving.files import file_lock

SCHEDULED = "scheduled.json"  # in the folder of a run whose nodes a scheduler starts
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
        if not file_lock.try_lock(file):
            file.seek(0)
            raise _refusal(root, name, file.read().strip() or "of another process")
        scheduled = next((other for other in _scheduled(root, name) if other != run_id), None)
        if scheduled is not None:
            raise _refusal(root, name, scheduled)
        file.truncate(0)
        file.write(run_id)
        file.flush()
        yield


def _refusal(root: Path, name: str, run_id: str) -> UsageError:
    return UsageError(f"{root}: run {run_id} of pipeline {name} is under way; wait for it or use another --root")


def _scheduled(root: Path, name: str) -> Iterator[str]:
    """Yield the unfinished runs of a pipeline whose nodes a scheduler starts; silent ones count as given up."""
    for mark in root.glob(f"runs/*/{SCHEDULED}"):
        folder = mark.parent
        try:
            run = json.loads((folder / "run.json").read_text())
            last = max(file.stat().st_mtime for file in folder.iterdir())
        except (OSError, ValueError):  # it is being removed, or is not a run
            continue
        if run.get("pipeline") != name or run.get("outcome") != "running":
            continue
        if time.time() - last < _SILENCE_S or attempts.any_under_way(folder):
            yield folder.name


@contextmanager
def node_lock(root: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold ROOT's node lock while a node runs: shared with other nodes, or alone to measure latency."""
    path = root / ".nodes.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(path, shared=not exclusive):
        yield
