"""Files that may be compressed with gzip. Their content decides, not their name."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from typing import IO, cast

from benison.serving.errors import DataError

_MAGIC = b"\x1f\x8b\x08"  # RFC 1952: the two bytes of gzip, and the only method of compression


def is_gzip(file: str) -> bool:
    """Return True if a file begins as gzip does."""
    with open(file, "rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


@contextlib.contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """Open a file and yield its content, decompressed if it is gzip.

    Raises:
        DataError: In the block: the compressed content is cut or damaged.
        OSError: The file cannot be opened.
    """
    try:
        with open(file, "rb") as stream:
            if stream.peek(len(_MAGIC))[: len(_MAGIC)] != _MAGIC:  # a pipe can be read only once
                yield stream
                return
            with gzip.GzipFile(fileobj=stream) as content:
                yield cast(IO[bytes], content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: cut or damaged as gzip ({error}); copy or write the file again") from None
