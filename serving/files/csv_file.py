"""The records of a CSV file: the one reader of training data and of rows for predictions.

Both must read a file in the same way: a cell that has a line break, or a column that appears twice, would otherwise be
another value for a served model than in training.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from benison.serving.errors import DataError
from benison.serving.files import gzipped

# How files begin that are often taken for CSV, and what they are.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip file, as a workbook of Excel (.xlsx) is",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel (.xls)",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
    b"BZh": "a file compressed with bzip2",
    b"\xfd7zXZ": "a file compressed with xz",
    b"\x28\xb5\x2f\xfd": "a file compressed with zstd",
}


@dataclass(frozen=True)
class Row:
    """One record and its position; `line` is the line of the file on which it begins."""

    file: str
    line: int
    cells: list[str]


def records(file: str, delimiter: str = ",", encoding: str = "utf-8") -> Iterator[Row]:
    """Yield the records of a file in order, the header and blank lines too.

    Args:
        file: Its path; the file may be compressed with gzip.
        delimiter: Separates cells.
        encoding: Its encoding; a UTF-8 byte order mark is skipped.

    Raises:
        DataError: The file cannot be read or parsed.
    """
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    line = 1
    try:
        with gzipped.opened(file) as content, io.TextIOWrapper(content, encoding=codec, newline="") as stream:
            _refuse_other_format(file, cast(io.BufferedReader, content).peek(20))
            reader = csv.reader(_reject_nul(stream), delimiter=delimiter, strict=True)
            for cells in reader:
                yield Row(file, line, cells)
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}, after line {line - 1}: not {encoding} (byte {error.object[error.start]:#04x}); "
            "set the encoding of the file in data.encoding, such as latin-1"
        ) from None
    except csv.Error as error:
        raise DataError(f"{file}, from line {line}: {error}") from None
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None


def _refuse_other_format(file: str, start: bytes) -> None:
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"{file}: this is {what}, not a CSV file; export its table as CSV")


def check_header(file: str, names: Sequence[str]) -> None:
    """Raise DataError if a column has no name, or the name of another one."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        fault = (
            f"column {repeated[0]!r} appears more than once"
            if repeated
            else f"column {names.index('') + 1} has no name"
        )
        index = "; if it is the index of pandas, write the file with index=False" if names[0] == "" else ""
        raise DataError(f"{file}, line 1: {fault}; give each column a unique name{index}")


def check_width(row: Row, header: Sequence[str]) -> None:
    """Raise DataError if a record has more or fewer cells than the header."""
    if len(row.cells) != len(header):
        raise DataError(f"{row.file}, line {row.line}: {len(row.cells)} cells, expected {len(header)} as in the header")


def _reject_nul(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines unchanged, and fail on a NUL; newer versions of Python's csv accept it as any character."""
    for line in lines:
        if "\0" in line:
            raise csv.Error(
                "a NUL byte; the file is not text, or data.encoding must name its encoding (such as utf-16)"
            )
        yield line
