"""Spans on disk: `ROOT/spans/NAME/SPAN/`. A span appears complete, by one rename, and never changes.

A span is a pipeline's data of one period, such as a month. Spans are numbered in order of time. A span that was removed
or replaced is kept in `ROOT/spans/NAME/.removed/`; `benison.pipelines.data.span_changes` does both.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components.ingest.csv_table import CsvTable
from benison.pipelines.config import periods
from benison.serving.errors import UsageError
from benison.serving.files import file_lock

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

FILE = "span.json"
REMOVED, REMOVAL = ".removed", "removed.json"  # the folder of removed spans, and the record in each of them
REPLACING = ".replacing-"  # begins the name of a folder whose span takes the place of another one
_SWAP_LOCK = ".swap.lock"


@dataclass(frozen=True)
class Span:
    """A span on disk.

    Attributes:
        number: its position in time.
        rows: the number of rows in all its files.
        sha256: hash of its files' names and contents.
        landed: when it was added, in Unix seconds.
        files: by name here, each file's `sha256`, where it came `from`, and the `pointer` and `md5` of DVC if one named
            it. Empty in a span of an earlier release.
    """

    number: int
    rows: int
    sha256: str
    landed: float
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def folder(root: Path, name: str) -> Path:
    """Return the folder of a pipeline's spans."""
    return root / "spans" / name


def pattern(root: Path, name: str) -> str:
    """Return the pattern of a pipeline's files, with {SPAN} for the number."""
    return str(folder(root, name) / "{SPAN}" / "*.csv")


@dataclass(frozen=True)
class RemovedSpan:
    """A span that was removed or replaced. Its files are kept.

    Attributes:
        span: the span as it was.
        removed: when it was removed, in Unix seconds.
        why: the reason; may be empty.
        replaced: True if other data took its place.
        path: the folder with its files.
    """

    span: Span
    removed: float
    why: str
    replaced: bool
    path: Path


def all_spans(root: Path, name: str) -> list[Span]:
    """Return a pipeline's spans, oldest first."""
    base = folder(root, name)
    if not base.is_dir():
        return []
    finish_replacements(base)
    with file_lock.hold(base / _SWAP_LOCK, shared=True):
        files = list(base.glob(f"[0-9]*/{FILE}"))
    return sorted((Span(**json.loads(file.read_text())) for file in files), key=lambda span: span.number)


def removed_spans(root: Path, name: str) -> list[RemovedSpan]:
    """Return the spans that were removed or replaced, in the order in which that happened."""
    files = folder(root, name).glob(f"{REMOVED}/*/{REMOVAL}")
    records = [
        RemovedSpan(
            Span(**json.loads(file.with_name(FILE).read_text())), **json.loads(file.read_text()), path=file.parent
        )
        for file in files
    ]
    return sorted(records, key=lambda record: record.removed)


def gone(root: Path, name: str) -> dict[int, RemovedSpan]:
    """Return, by number, the removed spans that no other data has replaced."""
    existing = {span.number for span in all_spans(root, name)}
    return {record.span.number: record for record in removed_spans(root, name) if record.span.number not in existing}


def content_hashes(root: Path, name: str, numbers: Sequence[int]) -> dict[str, str]:
    """Return the hashes of spans by number (as text, for JSON); a number alone does not tell replaced data apart."""
    return {str(span.number): span.sha256 for span in all_spans(root, name) if span.number in numbers}


def set_aside(base: Path, number: int) -> None:
    """Move a span with its removal record out of the way; its files are kept."""
    removed = base / REMOVED
    removed.mkdir(exist_ok=True)
    count = sum(1 for _ in removed.glob(f"{number}.*"))
    os.rename(base / str(number), removed / f"{number}.{count + 1}")


def finish_replacements(base: Path) -> None:
    """Complete the replacements whose new data is ready; nothing to do unless one was killed or is under way.

    Args:
        base: the folder of a pipeline's spans.
    """
    if not any(base.glob(f"{REPLACING}*")):
        return
    with file_lock.hold(base / _SWAP_LOCK):
        for ready in base.glob(f"{REPLACING}*"):
            number = int(ready.name.removeprefix(REPLACING))
            if (base / str(number)).exists():
                set_aside(base, number)
            os.rename(ready, base / str(number))


def window(config: Pipeline, root: Path, request: str | None) -> tuple[int, ...]:
    """Return the spans of a run, ascending.

    Args:
        config: the pipeline's config; `spans.window` is the number of spans unless `request` is a range.
        root: ROOT.
        request: the value of `--span`: `3` or `1-3`; None takes the newest window. One number is the newest span of a
            window. If the config has `spans.first`, a date such as `2013-04` stands for a number.

    Raises:
        UsageError: the request has a wrong form, or a span has not been added.
    """
    existing = [span.number for span in all_spans(root, config.name)]
    removed = gone(root, config.name)
    if not existing:
        raise UsageError(f"{config.name}: there are no spans; add one with `benison span add {config.name} FILE…`")
    size = config.spans.window if config.spans and config.spans.window else len(existing)
    if request is None:
        return tuple(existing[-size:])
    number = _from_date(config, request)
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", request if number is None else str(number))
    if match is None or (match[2] and int(match[2]) < int(match[1])):
        dates = f", or a date in a {config.spans.every}" if config.spans and config.spans.every else ""
        raise UsageError(f"--span {request}: expected a number such as 3, or a range such as 1-3{dates}")
    if match[2] is None:
        last = int(match[1])
        numbers = tuple(number for number in existing if number <= last)[-size:] if config.spans else (last,)
        numbers = numbers if numbers and numbers[-1] == last else (last,)
    else:
        numbers = tuple(range(int(match[1]), int(match[2]) + 1))
    have = ", ".join(map(str, existing))
    if numbers[-1] in removed:  # without it, other data would be `test`
        raise UsageError(f"--span {request}: span {numbers[-1]} was removed; the spans are {have}")
    numbers = tuple(number for number in numbers if number not in removed)
    absent = [number for number in numbers if number not in existing]
    if absent:
        raise UsageError(f"--span {request}: there is no span {absent[0]}; the spans are {have}")
    return numbers


def _from_date(config: Pipeline, request: str) -> int | None:
    """Return the span of a date; None if it is not a date, or the config does not assign dates to spans."""
    if config.spans is None or config.spans.first is None or config.spans.every is None:
        return None
    number = periods.number(request, config.spans.first, config.spans.every)
    if number is not None and number < 1:
        raise UsageError(f"--span {request}: is before {config.spans.first}, which is span 1")
    return number


def table(config: Pipeline, files: Sequence[Path]) -> CsvTable:
    """Return files as a table in the format that the config describes."""
    data = config.data
    missing, paths = frozenset(data.missing), tuple(map(str, files))
    return CsvTable(paths, missing, data.delimiter, data.encoding, data.decimal, data.amounts)
