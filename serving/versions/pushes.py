"""The record of what Benison published: ROOT/serving/NAME/pushes.jsonl, one line per version.

With it, a version whose manifest was deleted, cut or edited is known to be Benison's. Lines are only ever added. TF
Serving ignores the file, since its name is not a number.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from benison.serving.files import json_lines

FILE = "pushes.jsonl"


def append(base: Path, number: int, manifest: str, when: str) -> None:
    """Record a version before it becomes visible, so that no crash leaves a version that is not on record.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.
        manifest: SHA-256 (hex) of its `manifest.json`.
        when: UTC, ISO.
    """
    json_lines.append(base / FILE, {"version": number, "manifest": manifest, "when": when})


def manifests(base: Path, number: int) -> frozenset[str]:
    """Return the checksums of the manifests that a version may have; none if Benison did not publish it here.

    There are several if a push died after its record, or if the version was removed and fetched again.
    """
    file = base / FILE
    try:
        status = file.stat()
    except FileNotFoundError:
        return frozenset()
    return _by_version(file, status.st_size, status.st_mtime_ns, status.st_ino).get(number, frozenset())


@functools.lru_cache(maxsize=16)
def _by_version(file: Path, *_state: int) -> Mapping[int, frozenset[str]]:
    """Return the checksums of manifests by version; read once as long as the file does not change."""
    by_version: dict[int, set[str]] = {}
    for record in json_lines.read(file):
        if isinstance(record.get("version"), int):
            by_version.setdefault(record["version"], set()).add(str(record.get("manifest")))
    return {number: frozenset(checksums) for number, checksums in by_version.items()}
