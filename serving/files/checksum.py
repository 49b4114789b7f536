"""Checksums of content: SHA-256 in hex digits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20  # bytes
_FILE_BLOCK = 8 << 20


def of_file(path: Path) -> str:
    """Return the checksum of a file's content.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.sha256()
    # Large blocks, because both calls release the interpreter lock: a model server hashes while it answers.
    block = memoryview(bytearray(min(_FILE_BLOCK, max(path.stat().st_size, 1))))
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(block):
            digest.update(block[:size])
    return digest.hexdigest()


def of_stream(stream: BinaryIO) -> str:
    """Return the checksum of everything that is left in a binary stream."""
    digest = hashlib.sha256()
    while block := stream.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def of_text(text: str) -> str:
    """Return the checksum of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
