"""Files that may be compressed with gzip, or be in a zip file of their own. Their content decides, not their name."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

from benison.serving.errors import DataError

_MAGIC = b"\x1f\x8b\x08"  # RFC 1952: the two bytes of gzip, and the only method of compression
_ZIP = b"PK\x03\x04"
_WORKBOOK = "[Content_Types].xml"  # Excel's files are zip files that contain this one


def is_gzip(file: str) -> bool:
    """Return True if a file begins as gzip does."""
    with open(file, "rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


@contextlib.contextmanager
def opened(file: str) -> Iterator[IO[bytes]]:
    """Open a file and yield its content, decompressed if it is gzip or the only file in a zip file.

    Raises:
        DataError: In the block: the compressed content is cut or damaged, or a zip file has several files.
        OSError: The file cannot be opened.
    """
    try:
        with open(file, "rb") as stream:
            start = stream.peek(len(_ZIP))[: len(_ZIP)]  # a pipe can be read only once
            if start[: len(_MAGIC)] == _MAGIC:
                with gzip.GzipFile(fileobj=stream) as content:
                    yield cast(IO[bytes], content)
            elif start == _ZIP and stream.seekable() and (archive := _archive(stream)) is not None:
                with archive.open(_only_file(file, archive)) as content:
                    yield content
            else:
                yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{file}: cut or damaged as gzip ({error}); copy or write the file again") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # also an unknown method, or a password
        raise DataError(f"{file}: cannot be read as zip ({error}); extract the file, or write it again") from None


def _archive(stream: IO[bytes]) -> zipfile.ZipFile | None:
    """Return the zip file; None if it is a workbook or not whole."""
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile:
        stream.seek(0)
        return None
    if _WORKBOOK in archive.namelist():
        stream.seek(0)
        return None
    return archive


def _only_file(file: str, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise DataError(f"{file}: has {len(names)} files ({shown}), expected one; extract the one to read")
    return names[0]
