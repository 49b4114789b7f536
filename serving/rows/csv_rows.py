"""The records of a CSV file, in chunks.

Arrow reads the lines of which every reader would make the same cells: without line breaks in cells, with quotes only
around cells, and with as many cells as the header. Python's csv reads all others, in its strict mode, and gives the
messages. Both make the same cells of the same lines, so which one reads a line is only a question of speed.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from benison.serving.errors import DataError
from benison.serving.rows.chunks import Chunk
from benison.serving.rows.csv_blocks import NotEncoded, blocks

SEPARATOR_LINE = re.compile(r'"?sep=(.)"?')  # Excel's first line, which names the delimiter
_HEADER = 1 << 16  # bytes in which a header is looked for first
_UNFINISHED = "unexpected end of data"  # csv's message for an open quote


def header(file: str, delimiter: str = ",", encoding: str = "utf-8") -> list[str]:
    """Return the first record of a file.

    Raises:
        DataError: The file is empty, or cannot be read or parsed.
    """
    return _Reader(file, delimiter, encoding).read_header()


def chunks(file: str, delimiter: str = ",", encoding: str = "utf-8") -> Iterator[Chunk]:
    """Yield the records of a file in order, without the header and blank lines.

    Args:
        file: Its path; the file may be compressed, see `benison.serving.files.compressed`.
        delimiter: Separates cells.
        encoding: Its encoding; a byte order mark is skipped.

    Raises:
        DataError: The file cannot be read or parsed, or a record has more or fewer cells than the header.
    """
    return _Reader(file, delimiter, encoding).chunks()


class _Reader:
    """Reader of one file.

    Attributes:
        header: The first record, once a chunk was asked for.
    """

    def __init__(self, file: str, delimiter: str, encoding: str) -> None:
        self.header: list[str] = []
        self._file, self._delimiter, self._encoding = file, delimiter, encoding
        self._line = 1  # of the next record

    def read_header(self) -> list[str]:
        """Read the header and no more."""
        for _ in self._data():
            return self.header
        raise AssertionError("a file has at least one block")

    def chunks(self) -> Iterator[Chunk]:
        """Yield the records after the header."""
        carry = b""
        for data, is_last in self._data():
            chunk, carry = self._chunk(carry + data, is_last)
            if len(chunk):
                yield chunk

    def _data(self) -> Iterator[tuple[bytes, bool]]:
        """Yield whole lines after the header, and whether they are the last ones."""
        try:
            before = b""
            for block in blocks(self._file, self._encoding):
                data = before + block.data
                if not self.header:
                    before = data = self._without_header(data, block.is_last)
                if self.header:
                    before = b""
                    yield data, block.is_last
        except NotEncoded as error:
            raise self._not_encoded(error.before, error.byte) from None
        except OSError as error:
            raise DataError(f"{self._file}: {error.strerror}") from None

    def _without_header(self, data: bytes, is_last: bool) -> bytes:
        """Read the header, and Excel's line before it; return the lines after it, or all if the header is not whole."""
        first, _, rest = data.partition(b"\n")
        named = SEPARATOR_LINE.fullmatch(first.decode("utf-8", "replace").rstrip("\r"))
        if self._line == 1 and named and named[1] == self._delimiter:
            self._line, data = 2, rest
        start = data[: data.find(b"\n", _HEADER) + 1]  # decoding and cutting all lines would take longer
        for lines, are_all in ((start, False), (data, is_last)):
            records, _, unread = self._parsed(lines, are_all, most=1)
            if records:
                self.header = records[0]
                break
        if not any(self.header) and (records or is_last):
            raise DataError(f"{self._file}: file is empty; expected a header line with the names of the columns")
        return unread + data[len(lines) :] if records else data

    def _chunk(self, data: bytes, is_last: bool) -> tuple[Chunk, bytes]:
        """Return the records of whole lines, and the lines of a record that goes on in the next block."""
        if is_last:
            data = data.rstrip(b"\r\n")
        batch = self._by_arrow(data)
        if batch is not None:
            lines = range(self._line, self._line + len(batch))
            self._line += len(batch)
            return Chunk(self._file, self.header, lines, batch), b""
        records, numbers, unread = self._parsed(data, is_last)
        kept = [(line, cells) for line, cells in zip(numbers, records, strict=True) if cells]
        width = len(self.header)
        for line, cells in kept:
            if len(cells) != width:
                raise DataError(f"{self._file}, line {line}: {len(cells)} cells, expected {width} as in the header")
        return Chunk(self._file, self.header, [n for n, _ in kept], None, [cells for _, cells in kept]), unread

    def _by_arrow(self, data: bytes) -> Any:
        """Return the records of lines as an Arrow batch of text; None if Python's csv has to read them."""
        if not data or not _has_plain_lines(data) or not self._delimiter.isascii():
            return None
        quoted = b'"' in data
        if quoted and not _has_plain_quotes(data, self._delimiter):
            return None
        names = [f"f{index}" for index in range(len(self.header))]
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                arrow_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
                arrow_csv.ParseOptions(delimiter=self._delimiter, quote_char='"' if quoted else False),
                arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
            )
        except pa.ArrowInvalid:  # a line of another length, or not UTF-8
            return None
        (batch,) = table.combine_chunks().to_batches()
        longest = max(pc.max(pc.binary_length(column)).as_py() for column in batch.columns)
        return batch if longest <= csv.field_size_limit() else None

    def _parsed(self, data: bytes, is_last: bool, most: int | None = None) -> tuple[list[list[str]], list[int], bytes]:
        """Read lines by Python's csv.

        Returns:
            The records, the line of each, and the lines after them.

        Raises:
            DataError: A line is not CSV, or not of the encoding.
        """
        try:
            lines = list(io.StringIO(data.decode("utf-8", "strict" if self._is_utf8 else "surrogatepass"), newline=""))
        except UnicodeDecodeError as error:
            raise self._not_encoded(data[: error.start], data[error.start]) from None
        reader = csv.reader(_reject_nul(lines), delimiter=self._delimiter, strict=True)
        records: list[list[str]] = []
        numbers: list[int] = []
        done = 0
        try:
            while most is None or len(records) < most:
                records.append(next(reader))
                numbers.append(self._line + done)
                done = reader.line_num
        except StopIteration:
            pass
        except csv.Error as error:
            if str(error) != _UNFINISHED or is_last:
                raise DataError(f"{self._file}, from line {self._line + done}: {error}") from None
        self._line += done
        return records, numbers, "".join(lines[done:]).encode("utf-8", "surrogatepass")

    @property
    def _is_utf8(self) -> bool:
        return codecs.lookup(self._encoding).name == "utf-8"

    def _not_encoded(self, before: bytes, byte: int) -> DataError:
        line = self._line + before.count(b"\n")
        return DataError(
            f"{self._file}, line {line}: not {self._encoding} (byte {byte:#04x}); "
            "set the encoding of the file in data.encoding, such as latin-1"
        )


def _reject_nul(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines unchanged, and fail on a NUL; newer versions of Python's csv accept it as any character."""
    for line in lines:
        if "\0" in line:
            raise csv.Error(
                "a NUL byte; the file is not text, or data.encoding must name its encoding (such as utf-16)"
            )
        yield line


def _has_plain_lines(data: bytes) -> bool:
    """Return True if all lines end alike for every reader, and none is blank or has a NUL."""
    if b"\0" in data or data.startswith((b"\n", b"\r")) or b"\n\n" in data or b"\n\r" in data:
        return False
    return data.count(b"\r") == data.count(b"\r\n")


def _has_plain_quotes(data: bytes, delimiter: str) -> bool:
    """Return True if quotes are only around whole cells without line breaks, and doubled within them."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    return bool(pc.all(pc.match_substring_regex(lines, _plain_line(delimiter))).as_py())


@cache
def _plain_line(delimiter: str) -> str:
    mark = re.escape(delimiter)
    cell = rf'(?:[^"\r\n{mark}]*|"(?:[^"\r\n]|"")*")'
    return rf"^{cell}(?:{mark}{cell})*\r?\n?$"
