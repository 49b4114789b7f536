"""Spans on disk: `ROOT/spans/NAME/SPAN/`, each landed whole by one rename and never changed after.

A span is a pipeline's data of one period, such as a month; spans are numbered in the order of time.
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
    """A landed span.

    Attributes:
        number: its place in time.
        rows: of all its files.
        sha256: of its files' names and contents.
        landed: Unix seconds.
    """

    number: int
    rows: int
    sha256: str
    landed: float


def folder(root: Path, name: str) -> Path:
    """Where a pipeline's spans lie."""
    return root / "spans" / name


def pattern(root: Path, name: str) -> str:
    """A pipeline's files, {SPAN} standing for the number."""
    return str(folder(root, name) / "{SPAN}" / "*.csv")


def landed(root: Path, name: str) -> list[Span]:
    """A pipeline's spans, oldest first."""
    files = folder(root, name).glob(f"[0-9]*/{FILE}")
    return sorted((Span(**json.loads(file.read_text())) for file in files), key=lambda span: span.number)


def land(config: Pipeline, root: Path, files: Sequence[Path], number: int | None = None) -> Span:
    """Copies files in as a span.

    Args:
        config: the pipeline's config; says how the CSV is written.
        root: ROOT.
        files: CSV files with one header.
        number: the span's; None takes the one after the newest.

    Raises:
        DataError: the files cannot be read as a table; names file and line.
        UsageError: the span is there already.
    """
    there = landed(root, config.name)
    number = number if number is not None else (there[-1].number + 1 if there else 1)
    target = folder(root, config.name) / str(number)
    if target.exists():
        raise UsageError(
            f"{target}: span {number} is there already; spans are never changed, add it under another number"
        )
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise UsageError(f"two of the files have the same name: {', '.join(sorted(names))}")
    rows = sum(1 for _ in table(config, files).rows())
    if not rows:
        raise DataError(f"{files[0]}: a header and no rows; a span needs at least one")
    aside = target.with_name(f".incoming-{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    try:
        for file in files:
            shutil.copyfile(file, aside / (file.name if file.suffix == ".csv" else f"{file.name}.csv"))
        span = Span(number, rows, fingerprint.files([aside / n.name for n in sorted(aside.iterdir())]), time.time())
        (aside / FILE).write_text(json.dumps(asdict(span), indent=2) + "\n")
        os.rename(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return span


def land_from_source(config: Pipeline, root: Path) -> None:
    """Lands the spans that the pipeline's own source or pattern offers and that are not there yet.

    `data.csv` then holds {SPAN} in the place of the number, as in `{SPAN}.csv`.
    """
    if config.data.csv is None:
        return
    offered = sources.files_pattern(config, root)
    before, _, after = offered.partition("{SPAN}")
    number = re.compile(re.escape(before) + r"0*(\d+)" + re.escape(after))
    there = {span.number for span in landed(root, config.name)}
    inside, prefix = os.path.split(before)
    for file in sorted(Path(inside).glob(f"{prefix}*{after}")):
        match = number.fullmatch(str(file))
        if match and int(match[1]) not in there:
            land(config, root, [file], int(match[1]))


def window(config: Pipeline, root: Path, asked: str | None) -> tuple[int, ...]:
    """The spans of a run, ascending.

    Args:
        config: its `spans.window` is the number of spans, where none are asked for.
        root: ROOT.
        asked: `3` or `1-3`; None takes the newest window. One number is the newest span of a window. Where
            `spans.first` says which period is span 1, a date such as `2013-04` stands for a number.

    Raises:
        UsageError: it is of no such form, or a span has not landed.
    """
    there = [span.number for span in landed(root, config.name)]
    if not there:
        raise UsageError(f"{config.name}: no span has landed; `benison span add {config.name} FILE…` lands one")
    size = config.spans.window if config.spans and config.spans.window else len(there)
    if asked is None:
        return tuple(there[-size:])
    number = _by_date(config, asked)
    form = re.fullmatch(r"(\d+)(?:-(\d+))?", asked if number is None else str(number))
    if form is None or (form[2] and int(form[2]) < int(form[1])):
        dates = f", or a date in a {config.spans.every}" if config.spans and config.spans.every else ""
        raise UsageError(f"--span {asked}: expected a number such as 3, or a range such as 1-3{dates}")
    if form[2] is None:
        last = int(form[1])
        wanted = tuple(number for number in there if number <= last)[-size:] if config.spans else (last,)
        wanted = wanted if wanted and wanted[-1] == last else (last,)
    else:
        wanted = tuple(range(int(form[1]), int(form[2]) + 1))
    absent = [number for number in wanted if number not in there]
    if absent:
        raise UsageError(f"--span {asked}: span {absent[0]} has not landed; there are {', '.join(map(str, there))}")
    return wanted


def _by_date(config: Pipeline, asked: str) -> int | None:
    """The span that a date means; None where it is no date, or dates mean nothing."""
    if config.spans is None or config.spans.first is None or config.spans.every is None:
        return None
    number = periods.number(asked, config.spans.first, config.spans.every)
    if number is not None and number < 1:
        raise UsageError(f"--span {asked}: is before {config.spans.first}, which is span 1")
    return number


def table(config: Pipeline, files: Sequence[Path]) -> CsvTable:
    """Files as a table, read as the config says."""
    data = config.data
    return CsvTable(tuple(map(str, files)), frozenset(data.missing), data.delimiter, data.encoding, data.decimal)
