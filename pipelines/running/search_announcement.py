"""The file in which the Tuner of a scheduled run tells its helpers where its search is, and when it has ended."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from benison.components.tuning.mailbox import ANNOUNCEMENT
from benison.serving.files import atomic_file

ENDED = "ended"


def file(run_folder: Path, node_id: str) -> Path:
    """Return the file of a node, in the folder of its run."""
    return run_folder / f"{node_id}.search.json"


def read(announcement: Path) -> str:
    """Return the folder of the search, ENDED, or '' before the search has begun."""
    if not announcement.is_file():
        return ""
    return str(json.loads(announcement.read_text(encoding="utf-8"))["folder"])


@contextlib.contextmanager
def announced(announcement: Path) -> Iterator[None]:
    """Let a search in the block announce itself, and announce its end after the block."""
    announcement.unlink(missing_ok=True)
    os.environ[ANNOUNCEMENT] = str(announcement)
    try:
        yield
    finally:
        del os.environ[ANNOUNCEMENT]
        atomic_file.write(announcement, json.dumps({"folder": ENDED}))
