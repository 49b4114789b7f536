"""Messages and arrays on the socket between the server and the process that reads large bodies."""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

_Buffer = TypeVar("_Buffer", bytearray, "np.ndarray[Any, Any]")
_LENGTH = struct.Struct("=Q")


def send(peer: socket.socket, message: Any, payloads: Sequence[Any] = ()) -> None:
    """Send a message and then the bytes of buffers, without a copy of them."""
    data = pickle.dumps((message, [memoryview(payload).nbytes for payload in payloads]))
    peer.sendall(_LENGTH.pack(len(data)) + data)
    for payload in payloads:
        peer.sendall(payload)


def receive(peer: socket.socket) -> tuple[Any, list[int]]:
    """Return the next message, and the sizes of the buffers that follow (bytes).

    Raises:
        EOFError: the other process has ended.
    """
    length = receive_into(peer, bytearray(_LENGTH.size))
    message, sizes = pickle.loads(receive_into(peer, bytearray(_LENGTH.unpack(length)[0])))
    return message, sizes


def receive_into(peer: socket.socket, buffer: _Buffer) -> _Buffer:
    """Fill a buffer with the next bytes, and return it; other threads run meanwhile.

    Raises:
        EOFError: the other process has ended.
    """
    rest = memoryview(buffer)  # type: ignore[arg-type]
    while rest:
        received = peer.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
    return buffer


def send_arrays(peer: socket.socket, message: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Send a message with arrays; text is bytes in an object array."""
    import numpy as np

    forms: list[tuple[str, tuple[int, ...], str | None]] = []
    payloads: list[Any] = []
    for name, array in arrays.items():
        is_text = array.dtype == object
        forms.append((name, array.shape, None if is_text else array.dtype.str))
        if is_text:
            texts = array.ravel().tolist()
            payloads += [np.array(list(map(len, texts)), np.int64).data, b"".join(texts)]
        else:
            payloads.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    send(peer, (message, forms), payloads)


def receive_arrays(
    peer: socket.socket, forms: Sequence[tuple[str, tuple[int, ...], str | None]], sizes: Sequence[int]
) -> dict[str, np.ndarray[Any, Any]]:
    """Return the arrays that `send_arrays` sends."""
    import numpy as np

    arrays, remaining = {}, iter(sizes)
    for name, shape, dtype in forms:
        data = receive_into(peer, np.empty(next(remaining), np.uint8))
        if dtype is None:
            ends = np.cumsum(data.view(np.int64)).tolist()
            text = receive_into(peer, np.empty(next(remaining), np.uint8)).data
            array = np.empty(len(ends), object)
            begin = 0
            for position, end in enumerate(ends):  # other threads run between two texts
                array[position] = bytes(text[begin:end])
                begin = end
        else:
            array = data.view(dtype)
        arrays[name] = array.reshape(shape)
    return arrays
