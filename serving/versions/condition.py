"""The condition of a version's folder: whole, damaged or foreign.

- Whole: Benison published it, and its files are those that were published.
- Damaged: Benison published it, and a file or the manifest was changed, cut, added or deleted since.
- Foreign: another tool put it there, so there is nothing to compare it with.

Benison published a version if `pushes.jsonl`, its manifest or the ensemble's report in it says so. The model server
uses this module, so it reads the manifest as plain JSON, without pydantic.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benison.serving.files import checksum
from benison.serving.versions import pushes

MANIFEST = "manifest.json"
NOT_RECORDED = "not in the manifest"  # the problem of a file that was added
_REPORT = "assets.extra/ensemble_report.json"  # only a push writes it into a SavedModel, also those of former releases


@dataclass(frozen=True)
class Condition:
    """The condition of a version.

    Attributes:
        kind: See the module.
        problems: One line per problem of a damaged version, sorted by file.
        files: How many files were compared with the manifest.
        bytes: Their size.
        seconds: The time that reading them took.
    """

    kind: Literal["whole", "damaged", "foreign"]
    problems: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def is_damaged(self) -> bool:
        """True if the version must not be used."""
        return self.kind == "damaged"

    def cost(self) -> str:
        """Return what was compared and how long it took, in a few words."""
        return f"{self.files} files, {self.bytes / 1e6:.1f} MB, checked in {self.seconds:.2f} s"


def look(folder: Path) -> Condition:
    """Compare a version's manifest with the record of pushes, and the names and sizes of its files with the manifest.

    Args:
        folder: ROOT/serving/NAME/VERSION.
    """
    return _compare(folder, lambda path, record: path.stat().st_size == record["bytes"])


def check(folder: Path, hash_file: Callable[[Path], str] = checksum.of_file) -> Condition:
    """Do what `look` does, and compare the content of each file too; this reads all of them.

    Args:
        folder: ROOT/serving/NAME/VERSION.
        hash_file: Returns the SHA-256 (hex) of a file.
    """
    started = time.perf_counter()

    def unchanged(path: Path, record: Mapping[str, Any]) -> bool:
        return path.stat().st_size == record["bytes"] and hash_file(path) == record["sha256"]

    condition = _compare(folder, unchanged)
    seconds = time.perf_counter() - started
    return Condition(condition.kind, condition.problems, condition.files, condition.bytes, seconds)


def file_paths(folder: Path) -> dict[str, Path]:
    """Return every file of a version but the manifest, by relative path (with /), sorted."""
    # Links are followed, because the copy of a model holds what they point to.
    paths = (Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    named = sorted((path.relative_to(folder).as_posix(), path) for path in paths)
    return {name: path for name, path in named if name != MANIFEST}


def _compare(folder: Path, unchanged: Callable[[Path, Mapping[str, Any]], bool]) -> Condition:
    manifest = folder / MANIFEST
    number = int(folder.name) if folder.name.isdecimal() else None
    recorded = frozenset[str]() if number is None else pushes.manifests(folder.parent, number)
    is_ours = bool(recorded) or (folder / _REPORT).exists()
    try:
        content = manifest.read_bytes()
    except FileNotFoundError:
        return _damaged(f"{manifest}: missing, and Benison pushed this version") if is_ours else Condition("foreign")
    except OSError as error:
        return _damaged(f"{manifest}: {error.strerror}")
    if recorded and hashlib.sha256(content).hexdigest() not in recorded:
        return _damaged(f"{manifest}: changed since the push")
    try:
        data = json.loads(content)
    except ValueError as error:
        return _damaged(f"{manifest}: not JSON, so it was cut or overwritten ({error})")
    if not isinstance(data, dict):
        return _damaged(f"{manifest}: expected a JSON object, got {type(data).__name__}")
    expected = _file_records(data)
    if not expected:
        is_ours = is_ours or "candidate" in data
        return _damaged(f"{manifest}: it has no list of files") if is_ours else Condition("foreign")
    actual = file_paths(folder)
    problems = dict.fromkeys(expected.keys() - actual.keys(), "missing")
    problems |= dict.fromkeys(actual.keys() - expected.keys(), NOT_RECORDED)
    for name in expected.keys() & actual.keys():
        try:
            if not unchanged(actual[name], expected[name]):
                problems[name] = "changed since the push"
        except OSError as error:
            problems[name] = f"cannot be read: {error.strerror}"
    lines = tuple(f"{folder / name}: {problem}" for name, problem in sorted(problems.items()))
    size = sum(record["bytes"] for record in expected.values())
    return Condition("damaged" if lines else "whole", lines, len(expected), size)


def _damaged(problem: str) -> Condition:
    return Condition("damaged", (problem,))


def _file_records(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]] | None:
    """Return the files of a manifest by relative path; None if it has no such list, like another tool's."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        return None
    for record in files.values():
        if not isinstance(record, dict) or not isinstance(record.get("bytes"), int) or "sha256" not in record:
            return None
    return files
