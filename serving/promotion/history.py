"""The record of who changed what is served, when and why: ROOT/serving/NAME/history.jsonl, one line per change.

Lines are only ever added. TF Serving ignores the file, since its name is not a number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

from benison.serving.files import atomic_file

FILE = "history.jsonl"


@dataclass(frozen=True)
class Change:
    """A label that moved.

    Attributes:
        action: `promote`, `rollback`, `withdraw`, or `found` for a change that was made without a record.
        label: `stable` or `canary`.
        before: The version that had the label; None if there was none.
        to: The version that has the label now; None if it was taken away.
        who: Who made the change.
        why: The reason, in a few words.
        when: UTC, ISO.
        servers: host:port of the servers that were notified and serve it.
    """

    action: str
    label: str
    before: int | None
    to: int | None
    who: str
    why: str
    when: str
    servers: tuple[str, ...] = ()


def now() -> str:
    """Return the time for a record: UTC, ISO, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def append(base: Path, change: Change) -> None:
    """Add a change to the record and wait until it is on disk.

    Args:
        base: ROOT/serving/NAME.
        change: The change.

    Raises:
        OSError: The record cannot be written.
    """
    line = json.dumps({
        "when": change.when, "who": change.who, "why": change.why, "act": change.action,
        "label": change.label, "from": change.before, "to": change.to, "servers": change.servers,
    })  # fmt: skip
    file = base / FILE
    # One write per line, so that only the last line can be incomplete; a line break then separates it from ours.
    incomplete = file.is_file() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (("\n" if incomplete else "") + line + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    atomic_file.sync(base)


def read(base: Path) -> list[Change]:
    """Return all changes, oldest first; skip lines that a killed writer left incomplete."""
    file = base / FILE
    if not file.is_file():
        return []
    changes = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            data = json.loads(line)
            changes.append(
                Change(
                    data["act"], data["label"], data["from"], data["to"], data["who"], data["why"], data["when"],
                    tuple(data["servers"]),
                )
            )  # fmt: skip
        except (ValueError, TypeError, KeyError):
            continue
    return changes


def label_history(
    changes: Iterable[Change], label: str, originals: Mapping[int, int] = MappingProxyType({})
) -> list[int]:
    """Return the versions that a rollback can go through: those that had a label in turn, the current one last.

    Versions that were rolled back are left out.

    Args:
        changes: Oldest first.
        label: `stable` or `canary`.
        originals: For a version that was published once more, the number of the older version.
    """
    numbers: list[int] = []
    for change in changes:
        if change.label != label:
            continue
        if change.before is not None and not numbers:
            numbers.append(originals.get(change.before, change.before))
        to = None if change.to is None else originals.get(change.to, change.to)
        if change.action == "rollback" and to in numbers:
            while numbers[-1] != to:  # a second rollback must not return to what the first one left
                numbers.pop()
        elif to is not None:
            numbers.append(to)
    return numbers
