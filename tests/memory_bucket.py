"""A bucket of an object store in the memory of this process, which fsspec addresses as `memory://NAME`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fsspec.implementations.memory import MemoryFileSystem


@contextlib.contextmanager
def empty(name: str) -> Iterator[MemoryFileSystem]:
    """Make an empty bucket, and delete it and all its files at the end of the block; fsspec has one store per process."""
    files = MemoryFileSystem()
    try:
        _clear(files)
        files.mkdir(f"/{name}")
        yield files
    finally:
        _clear(files)


def _clear(files: MemoryFileSystem) -> None:
    files.store.clear()
    files.pseudo_dirs[:] = [""]
