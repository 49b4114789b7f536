"""Locks in ROOT, held by open files: the kernel lets go of them when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import UsageError


@contextmanager
def pipeline(root: Path, name: str, run_id: str) -> Iterator[None]:
    """Keeps a second run of the same pipeline out of ROOT; others share it.

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
            raise UsageError(
                f"{root}: run {file.read().strip() or 'of another process'} of pipeline {name} is under way; "
                "wait for it or give another --root"
            ) from None
        file.truncate(0)
        file.write(run_id)
        file.flush()
        yield


@contextmanager
def node(root: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Held by each node while it runs; a node that measures latency holds it alone."""
    path = root / ".nodes.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
