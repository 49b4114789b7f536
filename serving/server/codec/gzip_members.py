"""Decompresses gzip, up to a limit."""

from __future__ import annotations

import zlib

_WINDOW = 16 << 10  # bytes of gzip at a time; what is left of them after a member is copied


def decompress(body: bytes | bytearray, max_bytes: int) -> bytearray:
    """Decompress gzip, which may have several members.

    Raises:
        OverflowError: the result would be longer than `max_bytes`.
        zlib.error: the body is not gzip.
    """
    result = bytearray()
    member = zlib.decompressobj(wbits=31)
    for begin in range(0, len(body), _WINDOW):
        window: bytes | bytearray = body[begin : begin + _WINDOW]
        while window:
            if member.eof:
                member = zlib.decompressobj(wbits=31)
            result += member.decompress(window, max_bytes - len(result) + 1)
            if len(result) > max_bytes:
                raise OverflowError
            window = member.unused_data
    if not member.eof:
        raise zlib.error
    return result
