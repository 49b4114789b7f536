"""Who changed what is served, when and why: ROOT/serving/NAME/history.jsonl, a line for each change.

Lines are only ever added. TF Serving takes no notice of the file, since its name is no number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

FILE = "history.jsonl"


@dataclass(frozen=True)
class Change:
    """A label that was moved.

    Attributes:
        act: `promote`, `rollback`, `withdraw`, or `found` where the record had missed a change.
        label: `stable` or `canary`.
        before: the version that had it; None where there was none.
        to: the version that has it now; None where it was taken away.
        who: did it.
        why: in a few words.
        when: UTC, ISO.
        servers: host:port of those that were told, and got there.
    """

    act: str
    label: str
    before: int | None
    to: int | None
    who: str
    why: str
    when: str
    servers: tuple[str, ...] = ()


def now() -> str:
    """The time of a change: UTC, ISO, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def append(base: Path, change: Change) -> None:
    """Adds a change; it is on disk when this returns.

    Args:
        base: ROOT/serving/NAME.
        change: what was done.

    Raises:
        OSError: it cannot be written.
    """
    line = json.dumps({
        "when": change.when, "who": change.who, "why": change.why, "act": change.act,
        "label": change.label, "from": change.before, "to": change.to, "servers": change.servers,
    })  # fmt: skip
    file = base / FILE
    # One write, so that a line is whole or the last; what a killed writer left behind is ended by the line break.
    torn = file.is_file() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (("\n" if torn else "") + line + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(base, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(base: Path) -> list[Change]:
    """All changes, oldest first; a line that a killed writer left half written is passed over."""
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


def label_history(changes: Iterable[Change], label: str, same: Mapping[int, int] = MappingProxyType({})) -> list[int]:
    """The versions by which a label came to where it is: what going back leads through, the present one last.

    Args:
        changes: oldest first.
        label: `stable` or `canary`.
        same: for a version that is an older one once more, the older one's number.
    """
    line: list[int] = []
    for change in changes:
        if change.label != label:
            continue
        if change.before is not None and not line:
            line.append(same.get(change.before, change.before))
        to = None if change.to is None else same.get(change.to, change.to)
        if change.act == "rollback" and to in line:
            while line[-1] != to:  # what was gone back from is no way to go back to
                line.pop()
        elif to is not None:
            line.append(to)
    return line
