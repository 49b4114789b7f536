"""The process that reads large bodies, one after the other. It ends when the server closes the socket."""

from __future__ import annotations

import os
import signal
import socket
import sys
import zlib
from collections.abc import Callable
from typing import Any

from benison.serving.server import inference
from benison.serving.server.codec import column_names, gzip_members, json_examples, json_values
from benison.serving.server.engine import Signature, Tensors
from benison.serving.server.large_bodies import framing
from benison.serving.server.status import RequestError, TooLarge, invalid

_NICENESS = 10  # requests of others come first where there is one core


def main() -> None:
    """Read bodies from the socket whose descriptor is the argument."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server finishes what it has accepted
    os.nice(_NICENESS)
    peer = socket.socket(fileno=int(sys.argv[1]))
    document: dict[str, Any] = {}
    while True:
        try:
            (command, *arguments), sizes = framing.receive(peer)
        except EOFError:
            return
        if command == "parse":
            document = {}  # the former one, if nobody read it
            document = _answer(peer, _parse, peer, sizes, *arguments) or {}
        else:
            _answer(peer, _inputs if command == "inputs" else _examples, peer, document, *arguments)
            document = {}


def _answer(peer: socket.socket, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that answers; answer with its error if it fails."""
    try:
        return function(*arguments)
    except RequestError as error:
        framing.send(peer, error.with_traceback(None))
    except MemoryError:
        framing.send(peer, TooLarge("The values of the body take too much memory"))


def _parse(peer: socket.socket, sizes: list[int], gzipped: bool, max_bytes: int, max_memory: int) -> dict[str, Any]:
    body = framing.receive_into(peer, bytearray(sizes[0]))
    if gzipped:
        try:
            body = gzip_members.decompress(body, max_bytes)
        except OverflowError:
            raise TooLarge("The body is too long after decompression") from None
        except zlib.error:
            raise invalid("Malformed request: not gzip") from None
    if json_values.memory(body) > max_memory:
        raise TooLarge(f"The values of the body may take more than {max_memory} bytes of memory; send fewer rows")
    document = json_values.parse(body)
    body.clear()
    framing.send(peer, json_values.signature_name(document))
    return document


def _inputs(peer: socket.socket, document: dict[str, Any], signature: Signature, max_memory: int) -> None:
    rows = document.get("instances")
    if signature.missing and isinstance(rows, list):
        _check_memory(len(rows) * len(signature.inputs) * _CELL, max_memory)
    arrays, row_form = column_names.read_inputs(document, signature)
    document.clear()
    _send(peer, row_form, arrays, max_memory)


def _examples(peer: socket.socket, document: dict[str, Any], max_memory: int) -> None:
    from benison.serving.server.engines import lean_tensorflow

    lean_tensorflow.load()
    rows = inference.serialized_examples(json_examples.read_examples(document))
    document.clear()
    _send(peer, True, {"inputs": rows}, max_memory)


_CELL = 100  # bytes of a missing cell that is filled in: an entry of a dict, and a value
_TEXT = 56  # bytes of a short text in an array


def _send(peer: socket.socket, row_form: bool, arrays: Tensors, max_memory: int) -> None:
    _check_memory(
        sum(values.nbytes + (values.size * _TEXT if values.dtype == object else 0) for values in arrays.values()),
        max_memory,
    )
    framing.send_arrays(peer, row_form, arrays)


def _check_memory(size: int, max_memory: int) -> None:
    if size > max_memory:
        raise TooLarge(f"The tensors of the request take more than {max_memory} bytes of memory; send fewer rows")


if __name__ == "__main__":
    main()
