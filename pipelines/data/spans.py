"""Spans on disk: `ROOT/spans/NAME/SPAN/`. A span appears complete, by one rename, and never changes.

A span is a pipeline's data of one period, such as a month. Spans are numbered in order of time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components.ingest import data_files
from benison.components.ingest.csv_table import CsvTable
from benison.pipelines.code import fingerprint
from benison.pipelines.config import periods
from benison.pipelines.data import sources
from benison.serving.errors import DataError, UsageError

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

FILE = "span.json"


@dataclass(frozen=True)
class Span:
    """A span on disk.

    Attributes:
        number: its position in time.
        rows: the number of rows in all its files.
        sha256: hash of its files' names and contents.
        landed: when it was added, in Unix seconds.
    """

    number: int
    rows: int
    sha256: str
    landed: float


def folder(root: Path, name: str) -> Path:
    """Return the folder of a pipeline's spans."""
    return root / "spans" / name


def pattern(root: Path, name: str) -> str:
    """Return the pattern of a pipeline's files, with {SPAN} for the number."""
    return str(folder(root, name) / "{SPAN}" / "*.csv")


def all_spans(root: Path, name: str) -> list[Span]:
    """Return a pipeline's spans, oldest first."""
    files = folder(root, name).glob(f"[0-9]*/{FILE}")
    return sorted((Span(**json.loads(file.read_text())) for file in files), key=lambda span: span.number)


def add(config: Pipeline, root: Path, files: Sequence[Path], number: int | None = None) -> Span:
    """Copy files into a new span.

    Args:
        config: the pipeline's config, with the format of the CSV.
        root: ROOT.
        files: CSV files with the same header.
        number: the span's number; None takes the next one after the newest.

    Raises:
        DataError: the files cannot be read as a table; the message names file and line.
        UsageError: the span already exists.
    """
    existing = all_spans(root, config.name)
    number = number if number is not None else (existing[-1].number + 1 if existing else 1)
    target = folder(root, config.name) / str(number)
    if target.exists():
        raise UsageError(f"{target}: span {number} already exists and cannot be changed; use another number")
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise UsageError(f"two of the files have the same name: {', '.join(sorted(names))}")
    rows = sum(1 for _ in table(config, files).rows())
    if not rows:
        raise DataError(f"{files[0]}: has a header but no rows; a span needs at least one row")
    temporary = target.with_name(f".incoming-{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for file in files:
            shutil.copyfile(file, temporary / (file.name if file.suffix == ".csv" else f"{file.name}.csv"))
        span = Span(number, rows, fingerprint.files(sorted(temporary.iterdir())), time.time())
        (temporary / FILE).write_text(json.dumps(asdict(span), indent=2) + "\n")
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return span


def add_from_source(config: Pipeline, root: Path) -> None:
    """Add the new spans among the files of the pipeline's own source or pattern.

    `data.csv` then contains {SPAN} for the number, as in `{SPAN}.csv`.
    """
    if config.data.csv is None:
        return
    existing = {span.number for span in all_spans(root, config.name)}
    for number, file in data_files.numbered(sources.files_pattern(config, root)):
        if number not in existing:
            add(config, root, [Path(file)], number)


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
    absent = [number for number in numbers if number not in existing]
    if absent:
        have = ", ".join(map(str, existing))
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
    return CsvTable(tuple(map(str, files)), frozenset(data.missing), data.delimiter, data.encoding, data.decimal)
