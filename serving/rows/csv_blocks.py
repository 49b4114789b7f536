"""Cut a file of text into blocks of whole lines, as UTF-8, whatever its encoding and compression."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from benison.serving.errors import DataError
from benison.serving.files import compressed

BLOCK = 1 << 22  # bytes that are read at once

# How files begin that are often taken for CSV, and what they are.
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip file, as a workbook of Excel (.xlsx) is",
    b"\xd0\xcf\x11\xe0": "a workbook of an old Excel (.xls)",
    b"PAR1": "a Parquet file within a compressed one",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"%PDF": "a PDF",
    b"BZh": "a file compressed with bzip2",
    b"\xfd7zXZ": "a file compressed with xz",
    b"\x28\xb5\x2f\xfd": "a file compressed with zstd",
}


@dataclass(frozen=True)
class Block:
    """Whole lines of a file.

    Attributes:
        data: UTF-8, not yet checked if the file is UTF-8; the last line may lack its end.
        is_last: no block follows.
    """

    data: bytes
    is_last: bool


class NotEncoded(ValueError):
    """A byte that is not of the encoding.

    Attributes:
        before: what was decoded before it in its block, as UTF-8.
        byte: the byte.
    """

    def __init__(self, before: bytes, byte: int) -> None:
        super().__init__(byte)
        self.before, self.byte = before, byte


def blocks(file: str, encoding: str) -> Iterator[Block]:
    """Yield the blocks of a file; a byte order mark is skipped.

    Raises:
        DataError: The file is of another format, or its compression is damaged.
        NotEncoded: A byte is not of the encoding.
        OSError: The file cannot be read.
    """
    with compressed.opened(file) as stream:
        parts, carry = _decoded(file, stream, encoding), b""
        part = next(parts, b"")
        fault: NotEncoded | None = None
        while True:
            try:
                following = next(parts, None)
            except NotEncoded as error:  # the lines before it come first
                fault, following = error, b""
            data = carry + part
            if following is None:
                yield Block(data, is_last=True)
                return
            end = data.rfind(b"\n") + 1
            if end:
                yield Block(data[:end], is_last=False)
            if fault is not None:
                raise NotEncoded(fault.before, fault.byte)
            carry, part = data[end:], following


def _decoded(file: str, stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    start = stream.read(BLOCK)
    for magic, what in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"{file}: this is {what}, not a CSV file; export its table as CSV, JSON lines or Parquet")
    if codecs.lookup(encoding).name == "utf-8":  # Arrow checks it
        yield start.removeprefix(codecs.BOM_UTF8)
        while part := stream.read(BLOCK):
            yield part
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    part, carry = start, ""
    while True:
        try:
            text = carry + decoder.decode(part, final=not part)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "replace")
            raise NotEncoded((carry + before).encode("utf-8", "surrogatepass"), error.object[error.start]) from None
        except UnicodeError:  # UTF-16 and UTF-32 begin with a byte order mark, and this file does not
            raise NotEncoded(b"", start[0]) from None
        carry = "\r" if text.endswith("\r") and part else ""  # its \n may follow
        yield text.removesuffix(carry).encode("utf-8", "surrogatepass")
        if not part:
            return
        part = stream.read(BLOCK)
