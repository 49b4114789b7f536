"""Records of one JSON object per line, to which lines are only ever added."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.serving.files import atomic_file


def append(file: Path, record: Mapping[str, Any]) -> None:
    """Add a record and wait until it is on disk.

    Args:
        file: The file, in a folder that exists; created if it is missing.
        record: Plain data.

    Raises:
        OSError: The record cannot be written.
    """
    line = json.dumps(record)
    # One write per line, so that only the last line can be incomplete; a line break then separates it from ours.
    incomplete = file.is_file() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (("\n" if incomplete else "") + line + "\n").encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    atomic_file.sync(file.parent)


def read(file: Path) -> list[dict[str, Any]]:
    """Return all records, oldest first; skip lines that a killed writer left incomplete."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    records = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
