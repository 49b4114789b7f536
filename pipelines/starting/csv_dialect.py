"""Detect the form of a file and the dialect of a CSV: encoding, delimiter and decimal sign."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benison.components.ingest.csv_table import DELIMITERS
from benison.serving.errors import DataError
from benison.serving.files import compressed
from benison.serving.number_text import THOUSANDS
from benison.serving.rows import tables
from benison.serving.rows.csv_rows import SEPARATOR_LINE

_COMMA, _POINT = re.compile(r"[-+]?\d+,\d+"), re.compile(r"[-+]?\d+\.\d+")


@dataclass(frozen=True)
class Dialect:
    """The form of a file, and the dialect of a CSV.

    Attributes:
        form: CSV, JSON lines or Parquet; the others are for CSV.
        encoding: its encoding.
        delimiter: separates its cells.
        decimal: the decimal sign of its numbers.
    """

    form: str
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."


def dialect_of(file: Path, encoding: str | None, delimiter: str | None, decimal: str | None) -> Dialect:
    """Detect the form and the dialect of a file; what is given is not detected.

    Raises:
        DataError: the file cannot be read.
    """
    if (form := tables.form_of(str(file))) != tables.CSV:
        return Dialect(form)
    encoding = encoding or encoding_of(file)
    delimiter = delimiter or delimiter_of(file, encoding)
    return Dialect(form, encoding, delimiter, decimal or decimal_of(file, encoding, delimiter))


def encoding_of(file: Path) -> str:
    """Detect a text file's encoding: from its byte order mark, else UTF-8 if it is valid, else Western European.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with compressed.opened(str(file)) as stream:
            start = stream.read(4096)
            if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                return "utf-16"
            if start.count(0) > len(start) / 5:  # half the bytes of English text in UTF-16 are zero
                return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
            stream.seek(0)
            utf8 = codecs.getincrementaldecoder("utf-8")()
            high: set[int] = set()
            try:
                while block := stream.read(1 << 20):
                    utf8.decode(block)
                utf8.decode(b"", final=True)
                return "utf-8"
            except UnicodeDecodeError:
                stream.seek(0)
                while block := stream.read(1 << 20):
                    high.update(byte for byte in set(block) if 0x80 <= byte < 0xA0)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    # Windows-1252 uses most of the bytes that are control characters in Latin-1.
    return "cp1252" if high and not high & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else "latin-1"


def delimiter_of(file: Path, encoding: str) -> str:
    """Choose the delimiter: the one in Excel's first line; or that splits the first records into the most cells.

    The records must have equally many cells; if there is no such delimiter, it is a comma.
    """
    text = _start(file, encoding)
    if named := SEPARATOR_LINE.fullmatch(text.partition("\n")[0].rstrip("\r")):
        return named[1]
    widths = {}
    for delimiter in DELIMITERS:
        try:
            counts = {len(cells) for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells}
        except csv.Error:
            continue
        if len(counts) == 1:
            widths[delimiter] = counts.pop()
    if widths and max(widths.values()) > 1:
        return max(widths, key=lambda delimiter: widths[delimiter])
    try:  # the records have different lengths; the reader reports the line once the delimiter is right
        return csv.Sniffer().sniff(text, delimiters="".join(DELIMITERS)).delimiter
    except csv.Error:
        return ","


def decimal_of(file: Path, encoding: str, delimiter: str) -> str:
    """Detect the decimal sign: a comma if it is more frequent in the first numbers, and not only as in 1,234.

    With commas between the cells it is a point; a column may still have another sign, see `reading`.
    """
    if delimiter == ",":
        return "."
    commas, points, sure = 0, 0, False
    try:
        for cells in csv.reader(io.StringIO(_start(file, encoding), newline=""), delimiter=delimiter):
            commas += sum(1 for cell in cells if _COMMA.fullmatch(cell))
            points += sum(1 for cell in cells if _POINT.fullmatch(cell))
            sure = sure or any(_COMMA.fullmatch(cell) and not re.fullmatch(THOUSANDS, cell) for cell in cells)
    except csv.Error:  # the reader reports the line
        return "."
    return "," if sure and commas > points else "."


def _start(file: Path, encoding: str) -> str:
    """Return the first lines."""
    try:
        codec = "utf-8-sig" if encoding == "utf-8" else encoding
        with compressed.opened(str(file)) as content, io.TextIOWrapper(content, encoding=codec, newline="") as stream:
            return "".join(islice(stream, 200))
    except UnicodeError:
        raise DataError(f"{file}: contains NUL bytes but is not UTF-16; expected a text file") from None
