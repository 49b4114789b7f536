"""The outbox: events that a tracker has not taken yet, in ROOT/tracking/outbox, one JSON file for each.

The names sort as the events happened. A file is removed when its tracker has taken the event; one that the tracker
refuses as wrong is moved to ROOT/tracking/refused, so that it does not hold up the others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benison.serving.files import atomic_file

TRACKERS = ("mlflow", "wandb")


def folder(root: Path) -> Path:
    """Return the folder of trackers in ROOT."""
    return root / "tracking"


def put(root: Path, tracker: str, event: Mapping[str, Any]) -> None:
    """Add an event for a tracker in one step.

    Args:
        root: ROOT.
        tracker: one of `TRACKERS`.
        event: plain data with the keys `pipeline` and `id`.

    Raises:
        OSError: it cannot be written.
    """
    outbox = folder(root) / "outbox"
    outbox.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{tracker}-{event['id'].replace('/', '_')}.json"
    atomic_file.write(outbox / name, json.dumps(event, indent=1) + "\n")


def waiting(root: Path, pipeline: str, trackers: Sequence[str] = TRACKERS) -> list[tuple[str, Path, dict[str, Any]]]:
    """Return the events of a pipeline that wait, oldest first: the tracker, the file and the event of each."""
    found = []
    for file in sorted((folder(root) / "outbox").glob("*.json")):
        tracker = file.name.split("-", 2)[1]
        try:
            event = _read(file)
        except (OSError, ValueError):  # it has just been sent, or `refuse_damaged` moves it
            continue
        if tracker in trackers and event.get("pipeline") == pipeline:
            found.append((tracker, file, event))
    return found


def refuse_damaged(root: Path) -> list[Path]:
    """Move files that hold no event out of the way, and return their new paths."""
    damaged = []
    for file in sorted((folder(root) / "outbox").glob("*.json")):
        try:
            _read(file)
        except ValueError:
            with suppress(FileNotFoundError):  # another process was first
                damaged.append(refuse(root, file))
        except OSError:  # it has just been sent
            continue
    return damaged


def _read(file: Path) -> dict[str, Any]:
    event = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(event, dict):
        raise ValueError("expected a JSON object")
    return event


def refuse(root: Path, file: Path) -> Path:
    """Move an event out of the way of the others, and return its new path."""
    target = folder(root) / "refused" / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, target)
    return target
