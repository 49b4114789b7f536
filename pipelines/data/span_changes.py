"""Add, remove and replace spans. A process that is killed leaves the old or the new state, and data is never deleted.

Adding and removing are one rename each. Replacing begins with one rename, of the new data to `.replacing-SPAN`; from
then on every reader completes it first (`spans.finish_replacements`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components.ingest import data_files, dvc_pointers
from benison.pipelines.code import fingerprint
from benison.pipelines.data import expected_columns, row_index, sources, spans
from benison.pipelines.data.spans import RemovedSpan, Span
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError
from benison.serving.files import atomic_file, checksum, file_lock

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

_LOCK = ".change.lock"
_INCOMING = ".incoming-"


def add(
    config: Pipeline, root: Path, files: Sequence[Path], number: int | None = None, *, allow_repeated: bool = False
) -> Span:
    """Copy files into a new span.

    Args:
        config: the pipeline's config, with the format of the CSV.
        root: ROOT.
        files: CSV, JSON lines or Parquet files with the same columns.
        number: the span's number; None takes the next one after the newest. The number of a removed span is not used
            again.
        allow_repeated: accept rows that have landed before.

    Raises:
        DataError: the files cannot be read as a table, a column is missing, or their rows have landed before; the
            message says where.
        UsageError: the span already exists, or was removed.
    """
    with _change(root, config.name) as base:
        existing, removed = spans.all_spans(root, config.name), spans.gone(root, config.name)
        if number is None:
            number = max([*(span.number for span in existing), *removed], default=0) + 1
        if (base / str(number)).exists():
            raise UsageError(
                f"{base / str(number)}: span {number} already exists and cannot be changed; use another number, or "
                f"`benison span replace {config.name} {number} FILE…`"
            )
        if number in removed:
            raise UsageError(
                f"span {number} of {config.name} was removed, and its number is not used again; use another one, "
                f"or `benison span replace {config.name} {number} FILE…`"
            )
        with _incoming(config, root, files, number, allow_repeated=allow_repeated) as (span, prepared):
            os.rename(prepared, base / str(number))
    return span


def add_from_source(config: Pipeline, root: Path) -> None:
    """Add the new spans among the files of the pipeline's own source or pattern.

    `data.csv` then contains {SPAN} for the number, as in `{SPAN}.csv`.
    """
    if config.data.csv is None:
        return
    known = {*(span.number for span in spans.all_spans(root, config.name)), *spans.gone(root, config.name)}
    for number, file in data_files.numbered(sources.files_pattern(config, root)):
        if number not in known:
            add(config, root, [Path(file)], number)


def remove(root: Path, name: str, number: int, why: str = "") -> RemovedSpan:
    """Remove a span from a pipeline; keep its data aside.

    Args:
        root: ROOT.
        name: the pipeline's name.
        number: the span.
        why: the reason, for the record.

    Raises:
        UsageError: there is no such span.
    """
    with _change(root, name) as base:
        _existing(root, name, number)
        _record(base / str(number), why, replaced=False)
        spans.set_aside(base, number)
        return spans.gone(root, name)[number]


def replace(
    config: Pipeline, root: Path, number: int, files: Sequence[Path], why: str = "", *, allow_repeated: bool = False
) -> tuple[Span, RemovedSpan]:
    """Put other data in the place of a span, or of a removed one; keep the old data aside.

    Args:
        config: the pipeline's config, with the format of the CSV.
        root: ROOT.
        number: the span.
        files: CSV, JSON lines or Parquet files with the same columns.
        why: the reason, for the record.
        allow_repeated: accept rows that are in other spans.

    Returns:
        The new span and the old one.

    Raises:
        DataError: see `spans.add`; nothing was changed.
        UsageError: there is and was no such span.
    """
    with _change(root, config.name) as base:
        if number not in spans.gone(root, config.name):
            _existing(root, config.name, number)
        with _incoming(config, root, files, number, allow_repeated=allow_repeated) as (span, prepared):
            if (base / str(number)).exists():
                _record(base / str(number), why, replaced=True)
            os.rename(prepared, base / f"{spans.REPLACING}{number}")
            spans.finish_replacements(base)
        old = [record for record in spans.removed_spans(root, config.name) if record.span.number == number]
        return span, old[-1]


@contextmanager
def _change(root: Path, name: str) -> Iterator[Path]:
    """Keep other changes of a pipeline's spans out, and yield the folder of the spans."""
    base = spans.folder(root, name)
    base.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(base / _LOCK):
        for abandoned in base.glob(f"{_INCOMING}*"):
            shutil.rmtree(abandoned)
        yield base


@contextmanager
def _incoming(
    config: Pipeline, root: Path, files: Sequence[Path], number: int, *, allow_repeated: bool
) -> Iterator[tuple[Span, Path]]:
    """Prepare a span in a hidden folder, which the caller renames.

    Args:
        config: the pipeline's config, with the format of the CSV.
        root: ROOT.
        files: CSV, JSON lines or Parquet files with the same columns.
        number: the span's number.
        allow_repeated: accept rows that are in other spans.

    Yields:
        The span and its folder; the folder is deleted if it has not been renamed.

    Raises:
        DataError, UsageError: see `add`.
    """
    sources = [source for file in files for source in _sources(file)]
    files = [Path(source.path) for source in sources]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise UsageError(f"two of the files have the same name: {', '.join(sorted(names))}")
    table = spans.table(config, files)
    expected_columns.check(config, table)
    rows = row_index.hashes(table)
    if not len(rows):
        raise DataError(f"{files[0]}: has a header but no rows; a span needs at least one row")
    if not allow_repeated:
        _refuse_repeated(config, root, files, rows, number)
    temporary = spans.folder(root, config.name) / f"{_INCOMING}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        landed = {}
        for file, source in zip(files, sources, strict=True):
            name = file.name if file.suffix == ".csv" else f"{file.name}.csv"
            shutil.copyfile(file, temporary / name)
            pointer = {"pointer": source.pointer, "md5": source.md5} if source.pointer else {}
            landed[name] = {"sha256": checksum.of_file(temporary / name), "from": os.path.abspath(file), **pointer}
        span = Span(number, len(rows), fingerprint.files(sorted(temporary.iterdir())), time.time(), landed)
        row_index.write(temporary, rows)
        (temporary / spans.FILE).write_text(json.dumps(asdict(span), indent=2) + "\n")
        yield span, temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sources(file: Path) -> Sequence[data_files.DataFile]:
    """Return the file itself; those that it names if it is a pointer of DVC."""
    return data_files.contents(str(file)) if dvc_pointers.is_pointer(file) else (data_files.DataFile(str(file)),)


def _refuse_repeated(config: Pipeline, root: Path, files: Sequence[Path], rows: row_index.Hashes, number: int) -> None:
    """Raise DataError if the rows have landed before in other spans."""
    others = [span.number for span in spans.all_spans(root, config.name) if span.number != number]
    repeated = row_index.repetition(rows, {other: _row_hashes(config, root, other) for other in others})
    if repeated is None:
        return
    where = f"span{'s' if len(repeated.spans) > 1 else ''} {', '.join(map(str, repeated.spans))}"
    chance = f" (by chance: {repeated.chance:.1%})" if repeated.chance else ""
    raise DataError(
        f"{', '.join(map(str, files))}: {repeated.share:.1%} of the rows have already landed in {where} of "
        f"{config.name}{chance}. Models would be judged on rows that they were trained on. Remove these rows from the "
        f"file, or replace a span (`benison span replace {config.name} {repeated.spans[0]} FILE…`). If they are other "
        "events that look the same, use `benison span add --allow-repeated`"
    )


def _row_hashes(config: Pipeline, root: Path, number: int) -> row_index.Hashes:
    """Return the hashes of a landed span's rows; write its index first if it landed without one."""
    path = spans.folder(root, config.name) / str(number)
    rows = row_index.read(path)
    if rows is None:
        rows = row_index.hashes(spans.table(config, sorted(path.glob("*.csv"))))
        row_index.write(path, rows)
    return rows


def _existing(root: Path, name: str, number: int) -> None:
    """Raise UsageError if a span does not exist."""
    numbers = [str(span.number) for span in spans.all_spans(root, name)]
    if str(number) not in numbers:
        state = "was removed already" if number in spans.gone(root, name) else "does not exist"
        raise UsageError(
            f"span {number} of {name} {state}; the spans are {', '.join(numbers) or '(none)'}"
            f"{did_you_mean(str(number), numbers)}"
        )


def _record(folder: Path, why: str, *, replaced: bool) -> None:
    """Write the removal record into a span's folder. It says nothing as long as the folder is in its place."""
    record = {"removed": time.time(), "why": why, "replaced": replaced}
    atomic_file.write(folder / spans.REMOVAL, json.dumps(record, indent=2) + "\n")
