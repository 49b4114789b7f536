"""Takes large gRPC messages apart without parsing them whole, and puts large answers together.

Protobuf parses and writes a message in one go, with Python's lock: 100 MB stop every other request. Here the values of
a tensor stay where they are in the received bytes, and only what remains is parsed. Each step is short.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import tensors
from benison.serving.server.status import TooLarge, invalid

if TYPE_CHECKING:
    import numpy as np

LARGE = 256 << 10  # bytes of a message, or of the tensors of an answer
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_SMALL_PART = 64 << 10  # bytes of a field that protobuf may parse at once
_SMALL_INPUT = 4 << 10  # bytes of a tensor that is parsed with the message
_OBJECT = 56  # bytes of memory of a value with a field of its own
_PIECE = 16 << 10  # values of an answer that are written at once
_PIECE_BYTES = 1 << 20  # likewise, of those that are on the wire as they are in memory
# Numbers of fields.
_INPUTS, _EXAMPLES_INPUT = 2, 2  # of a PredictRequest; of the requests with examples
_KEY, _VALUE = 1, 2  # of an entry of a map
_SHAPE, _CONTENT, _TEXTS = 2, 4, 8  # of a TensorProto
_RAW = {5: "float32", 6: "float64"}  # numbers that are on the wire as they are in memory
_WIDTHS = {7: 4, 10: 8, 11: 1, 13: 4, 16: 4, 17: 8}  # bytes in memory of numbers that have as few as one on the wire
_LIST, _LIST_WITH_CONTEXT, _CONTEXT = 1, 2, 2  # of an Input; of its second field


@dataclass(frozen=True)
class LargeMessage:
    """A message that is not parsed yet.

    Attributes:
        request_class: its class.
        data: its bytes.
    """

    request_class: Any
    data: bytes


@dataclass
class Parts:
    """A message whose large values are apart.

    Attributes:
        request: the message without them.
        contents: by input, the values of a tensor: `string` and the texts; or the type of their field, empty for
            `tensor_content`, and the bytes of the numbers.
        rows: the serialized examples; None if the message has none of its own kind.
    """

    request: Any
    contents: dict[str, tuple[str, Any]] = field(default_factory=dict)
    rows: np.ndarray[Any, Any] | None = None


class _Memory:
    """The memory that the values of a message may still take."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"The values of the message take more than {self._limit} bytes of memory; send fewer rows")


def take_apart(message: LargeMessage, max_memory: int) -> Parts:
    """Return the parts of a large message.

    Args:
        message: a PredictRequest, or a request with examples.
        max_memory: largest memory of its values (bytes).

    Raises:
        RequestError: It is not such a message, or too large.
    """
    from google.protobuf.message import DecodeError

    parts, memory, rest = Parts(None), _Memory(max_memory), bytearray()
    examples: list[Any] = []
    is_predict = message.request_class.DESCRIPTOR.name == "PredictRequest"
    try:
        for number, wire_type, value, whole in _fields(memoryview(message.data), memory):
            if wire_type == _BYTES and is_predict and number == _INPUTS and len(whole) > _SMALL_INPUT:
                rest += _bytes_field(number, _input(value, parts, memory))
            elif wire_type == _BYTES and not is_predict and number == _EXAMPLES_INPUT:
                examples = _examples(value, examples, memory)
                rest += _bytes_field(number, b"")
            else:
                _append(rest, whole)
        parts.request = message.request_class.FromString(bytes(rest))
    except (DecodeError, IndexError, ValueError):
        raise invalid("the message cannot be parsed as a request of this method") from None
    if not is_predict:
        parts.rows = _rows(examples)
    return parts


def response(
    spec: Any, outputs: Mapping[str, np.ndarray[Any, Any]], dtypes: Mapping[str, str], as_content: bool
) -> bytes:
    """Return a serialized PredictResponse.

    Args:
        spec: its ModelSpec.
        outputs: the tensors by name.
        dtypes: TensorFlow's name of the type of each.
        as_content: see `tensors.to_proto`.
    """
    message = io.BytesIO()
    for name, values in outputs.items():
        tensor = _tensor_pieces(values, dtypes[name], as_content)
        key = _bytes_field(_KEY, name.encode())
        value_head = _head(_VALUE, sum(map(len, tensor)))
        message.write(_head(1, len(key) + len(value_head) + sum(map(len, tensor))) + key + value_head)
        for piece in tensor:
            message.write(piece)  # other threads run between two pieces
    message.write(_bytes_field(2, spec.SerializeToString()))
    return message.getvalue()  # without a copy


def _tensor_pieces(values: np.ndarray[Any, Any], dtype: str, as_content: bool) -> list[bytes | memoryview]:
    """Return a serialized TensorProto in pieces; protobuf joins the values of a field that is there several times."""
    flat = values.ravel()
    start = tensors.to_proto(flat[:0], dtype, as_content=False)
    del start.tensor_shape.dim[:]
    for size in values.shape:
        start.tensor_shape.dim.add(size=size)
    pieces: list[bytes | memoryview] = [start.SerializeToString()]
    numbers = {name: number for number, name in _RAW.items()}
    if dtype in numbers or (as_content and dtype != "string"):
        number = _CONTENT if as_content else numbers[dtype]
        raw = memoryview(flat.view("uint8"))  # type: ignore[arg-type]
        pieces.append(_head(number, len(raw)))
        return pieces + [raw[begin : begin + _PIECE_BYTES] for begin in range(0, len(raw), _PIECE_BYTES)]
    for begin in range(0, flat.size, _PIECE):
        piece = tensors.to_proto(flat[begin : begin + _PIECE], dtype, as_content=False)
        piece.ClearField("dtype")
        piece.ClearField("tensor_shape")
        pieces.append(piece.SerializeToString())
    return pieces


def _input(entry: memoryview, parts: Parts, memory: _Memory) -> bytearray:
    """Return an entry of `inputs` without the values that stay apart."""
    key, rest, tensor = "", bytearray(), bytearray()
    content: tuple[str, Any] | None = None
    texts: list[bytes] = []
    for number, wire_type, value, whole in _fields(entry, memory):
        if number == _KEY and wire_type == _BYTES:
            key = bytes(value).decode()
        if number != _VALUE or wire_type != _BYTES:
            _append(rest, whole)
            continue
        for tensor_field, tensor_type, values, tensor_whole in _fields(value, memory):
            if tensor_type == _BYTES and tensor_field in (_CONTENT, *_RAW) and content is None and len(values):
                content = (_RAW.get(tensor_field, ""), values)
            elif tensor_type == _BYTES and tensor_field == _TEXTS:
                texts.append(bytes(values))
            elif tensor_type == _BYTES and tensor_field in _WIDTHS:
                memory.take(len(values) * (_WIDTHS[tensor_field] + 8))
                tensor += tensor_whole
            elif tensor_type == _BYTES and tensor_field in (_CONTENT, *_RAW) and content is not None:
                raise ValueError("a tensor with values in two places")
            else:
                _append(tensor, tensor_whole)
    if texts and content is not None:
        raise ValueError("a tensor with values in two places")
    if texts or content is not None:
        parts.contents[key] = content or ("string", texts)
    return rest + _bytes_field(_VALUE, tensor)


def _examples(value: memoryview, examples: list[Any], memory: _Memory) -> list[Any]:
    """Return [context, examples] of an Input, which continues an Input before it in the message."""
    for number, wire_type, content, _ in _fields(value, memory):
        if wire_type != _BYTES or number not in (_LIST, _LIST_WITH_CONTEXT):
            raise ValueError("not an Input")
        if not examples or examples[0] != number:  # the last kind counts
            examples = [number, bytearray(), []]
        for inner, inner_type, example, _ in _fields(content, memory):
            if inner_type != _BYTES:
                raise ValueError("not an example")
            if number == _LIST_WITH_CONTEXT and inner == _CONTEXT:
                examples[1] += example
            elif inner == 1:
                examples[2].append(example)
    return examples


def _rows(examples: list[Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if not examples or not examples[2]:
        raise invalid("Input is empty.")
    _, context, serialized = examples
    rows = np.empty(len(serialized), object)
    for position, example in enumerate(serialized):
        rows[position] = bytes(context) + bytes(example)
    return rows


def _fields(data: memoryview, memory: _Memory) -> Iterator[tuple[int, int, memoryview, memoryview]]:
    """Yield the number, the wire type, the value and the whole bytes of each field.

    Raises:
        ValueError: The bytes are not a message.
        IndexError: The bytes end too early.
    """
    position, end = 0, len(data)
    while position < end:
        begin = position
        memory.take(_OBJECT)
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _BYTES:
            size, position = _varint(data, position)
        elif wire_type == _VARINT:
            _, after = _varint(data, position)
            size = after - position
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError("an unknown wire type")
        if position + size > end:
            raise IndexError
        yield number, wire_type, data[position : position + size], data[begin : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """Return a number, and the position after it."""
    result = shift = 0
    while True:
        byte = data[position]
        result |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _append(message: bytearray, whole: memoryview) -> None:
    """Add a field that protobuf parses: one that is no values of a tensor is never large."""
    if len(whole) > _SMALL_PART:
        raise TooLarge(f"A field of the message that holds no values has {len(whole)} bytes")
    message += whole


def _bytes_field(number: int, value: Any) -> bytearray:
    return bytearray(_head(number, len(value))) + value


def _head(number: int, size: int) -> bytes:
    """Return the tag and the size of a field of bytes."""
    return bytes([number << 3 | _BYTES]) + _encoded(size)


def _encoded(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
