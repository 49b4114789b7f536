"""The one writer of rows: Arrow tables to CSV, JSON lines or Parquet, by the ending of the file's name.

A file becomes visible when it is whole: it is written beside its place, and renamed.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from benison.serving.errors import UsageError
from benison.serving.files import atomic_file, system_errors

Write = Callable[[pa.RecordBatch], None]


def check(path: Path) -> None:
    """Raise UsageError unless a file of this name can be written.

    Raises:
        UsageError: the ending names no form of rows, or the folder does not exist; the message says what would do.
    """
    if _form(path) is None:
        raise UsageError(f"{path}: expected a name that ends in {', '.join(_FORMS)}; .gz may follow csv and jsonl")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: the folder does not exist")
    if path.is_dir():
        raise UsageError(f"{path}: it is a folder; expected a file")


@contextlib.contextmanager
def writing(path: Path, schema: pa.Schema) -> Iterator[Write]:
    """Write rows batch by batch; the file replaces one of its name when the block ends without an error.

    Args:
        path: The file, see `check`.
        schema: The columns. In CSV and JSON lines, a missing value is an empty cell and null; so is NaN in JSON lines.

    Yields:
        A function that writes one record batch.

    Raises:
        UsageError: See `check`.
        OSError: The file cannot be written; an old one is kept.
    """
    check(path)
    form = _form(path)
    assert form is not None
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
    try:
        with system_errors.about(path), os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # mkstemp allows the owner only
            with contextlib.ExitStack() as stack:
                stream = stack.enter_context(gzip.open(file, "wb")) if path.suffix == ".gz" else file
                yield stack.enter_context(form(stream, schema))
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    atomic_file.sync(path.absolute().parent)


@contextlib.contextmanager
def _csv(stream: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    from pyarrow import csv

    plain = pa.schema([field if _is_plain(field.type) else field.with_type(pa.string()) for field in schema])

    def write(batch: pa.RecordBatch) -> None:
        columns = zip(batch.columns, plain, strict=True)
        cells = [column if column.type == field.type else _texts(column) for column, field in columns]
        writer.write_batch(pa.RecordBatch.from_arrays(cells, schema=plain))

    with csv.CSVWriter(stream, plain) as writer:
        yield write


@contextlib.contextmanager
def _parquet(stream: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    from pyarrow import parquet

    with parquet.ParquetWriter(stream, schema) as writer:
        yield writer.write_batch


@contextlib.contextmanager
def _json_lines(stream: IO[bytes], schema: pa.Schema) -> Iterator[Write]:
    def write(batch: pa.RecordBatch) -> None:
        texts = [_texts(column) if pa.types.is_temporal(column.type) else column for column in batch.columns]
        columns = [[_json_value(value) for value in column.to_pylist()] for column in texts]
        for cells in zip(*columns, strict=True):
            record = dict(zip(schema.names, cells, strict=True))
            stream.write(json.dumps(record, ensure_ascii=False, default=str).encode() + b"\n")

    yield write


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # JSON has no NaN


def _is_plain(type_: Any) -> bool:
    """Return True if Arrow writes values of a type into a CSV."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    return any(test(type_) for test in tests)


def _texts(column: pa.Array) -> pa.Array:
    """Return the values as text: dates and times as ISO 8601 has them, lists and objects as JSON."""
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        return pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


_FORMS: dict[str, Any] = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}


def _form(path: Path) -> Any:
    """Return the function that writes a file of this name; None if there is none."""
    name = path.name.lower()
    if name.endswith(".gz") and not name.endswith(".parquet.gz"):  # Parquet compresses its columns itself
        name = name.removesuffix(".gz")
    return _FORMS.get(Path(name).suffix)
