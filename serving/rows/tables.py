"""A file of rows as a table of text, whatever its form: CSV, JSON lines or Parquet."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from benison.serving.errors import DataError
from benison.serving.files import compressed
from benison.serving.rows.chunks import Chunk, check_names

CSV, JSON_LINES, PARQUET = "CSV", "JSON lines", "Parquet"
_ENDINGS = {".json": JSON_LINES, ".jsonl": JSON_LINES, ".ndjson": JSON_LINES, ".parquet": PARQUET}
_START = 1 << 16  # bytes that are looked at


def form_of(file: str) -> str:
    """Return the form of a file: Parquet by its first bytes, JSON lines by its first line, or either by its name."""
    compressed_start, start = _starts(file)
    if compressed_start.startswith(b"PAR1"):
        return PARQUET
    if _is_object(start.removeprefix(b"\xef\xbb\xbf").lstrip()):
        return JSON_LINES
    endings = (_ENDINGS.get(ending.lower()) for ending in PurePath(file).suffixes)
    return next((form for form in endings if form), CSV)


def header(file: str, delimiter: str = ",", encoding: str = "utf-8") -> list[str]:
    """Return the names of the columns.

    Raises:
        DataError: The file is empty, or cannot be read or parsed.
    """
    from benison.serving.rows import csv_rows, json_rows, parquet_rows

    form = form_of(file)
    if form == PARQUET:
        return parquet_rows.header(file)
    return json_rows.header(file) if form == JSON_LINES else csv_rows.header(file, delimiter, encoding)


def check_header(file: str, names: Sequence[str]) -> None:
    """Raise DataError if a column has no name, or the name of another one."""
    check_names(f"{file}, line 1" if form_of(file) == CSV else file, names)


def chunks(file: str, columns: Sequence[str], delimiter: str = ",", encoding: str = "utf-8") -> Iterator[Chunk]:
    """Yield the records of a file in order, without blank lines.

    Args:
        file: Its path; all but Parquet may be compressed, see `benison.serving.files.compressed`.
        columns: Its `header`; JSON lines and Parquet may have the columns in another order.
        delimiter: Separates the cells of a CSV.
        encoding: The encoding of a CSV; a byte order mark is skipped.

    Raises:
        DataError: The file cannot be read or parsed; the message names the line, or the row of a Parquet file.
    """
    from benison.serving.rows import csv_rows, json_rows, parquet_rows

    form = form_of(file)
    if form == PARQUET:
        return parquet_rows.chunks(file, columns)
    return json_rows.chunks(file, columns) if form == JSON_LINES else csv_rows.chunks(file, delimiter, encoding)


def kinds(file: str) -> dict[str, str]:
    """Return by column `int`, `float` or `bytes`, where the file itself says so: in Parquet."""
    from benison.serving.rows import parquet_rows

    return parquet_rows.kinds(file) if form_of(file) == PARQUET else {}


def numbers(file: str) -> frozenset[str]:
    """Return the columns whose values are numbers by the file itself; their decimal sign is a point."""
    from benison.serving.rows import json_rows

    if form_of(file) == JSON_LINES:
        return json_rows.numbers(file)
    return frozenset(name for name, kind in kinds(file).items() if kind != "bytes")


def _starts(file: str) -> tuple[bytes, bytes]:
    """Return the first bytes of a file, as they are and decompressed."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # a pipe can be read only once
            return b"", b""
        with open(file, "rb") as raw, compressed.opened(file) as stream:
            return raw.read(4), stream.read(_START)
    except (OSError, DataError):  # its reader says what is wrong
        return b"", b""


def _is_object(start: bytes) -> bool:
    """Return True if the first line is a JSON object, or begins as one and is too long to see its end."""
    line, end, _ = start.partition(b"\n")
    if not line.startswith(b"{"):
        return False
    return line.rstrip().endswith(b"}") and b":" in line if end or len(start) < _START else b'"' in line[:3]
