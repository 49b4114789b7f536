"""The record of who changed what is served, when and why: ROOT/serving/NAME/history.jsonl, one line per change.

Lines are only ever added. TF Serving ignores the file, since its name is not a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

from benison.serving.files import json_lines

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
    record = {
        "when": change.when, "who": change.who, "why": change.why, "act": change.action,
        "label": change.label, "from": change.before, "to": change.to, "servers": change.servers,
    }  # fmt: skip
    json_lines.append(base / FILE, record)


def read(base: Path) -> list[Change]:
    """Return all changes, oldest first; skip lines that a killed writer left incomplete."""
    changes = []
    for record in json_lines.read(base / FILE):
        try:
            changes.append(
                Change(
                    record["act"], record["label"], record["from"], record["to"], record["who"], record["why"],
                    record["when"], tuple(record["servers"]),
                )
            )  # fmt: skip
        except (TypeError, KeyError):
            continue
    return changes


def was_served(base: Path, number: int, label: str) -> bool:
    """Return True if a version has, or had, a label."""
    changes = (change for change in read(base) if change.label == label)
    return any(number in (change.before, change.to) for change in changes)


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
