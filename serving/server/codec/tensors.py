"""Converts between TensorProtos and numpy arrays; text is bytes in an object array."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

_PIECE = 16 << 10  # values that are converted at once
_MAX_IMPLIED = 1 << 16  # elements that a proto may imply without containing them

# TensorProto's repeated field by dtype; the last types share a wider field.
FIELDS = {
    "float32": "float_val",
    "float64": "double_val",
    "int64": "int64_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
    "bool": "bool_val",
    "string": "string_val",
    **dict.fromkeys(["int32", "int16", "int8", "uint16", "uint8"], "int_val"),
}


def from_proto(name: str, proto: Any, dtype: str, content: tuple[str, Any] | None = None) -> np.ndarray[Any, Any]:
    """Return the array of a TensorProto, from `tensor_content` or from its repeated fields.

    Args:
        name: the name of the input, for messages.
        proto: a TensorProto.
        dtype: the dtype that the signature requires.
        content: the values of a proto that has none itself, see `wire.Parts`.

    Raises:
        RequestError: The dtype is wrong, the values do not fit the shape, or the shape is far larger than the message.
    """
    if (array := _plain(proto, dtype, content)) is not None:
        return array
    if content is not None:  # a rare form, or a wrong one
        _put_back(proto, *content)
    import tensorflow as tf

    try:
        proto_dtype = tf.dtypes.as_dtype(proto.dtype).name
    except TypeError:
        raise invalid(f"input {name}: unknown dtype {proto.dtype}") from None
    if proto_dtype != dtype:
        raise invalid(f"Expects arg[{name}] to be {dtype} but {proto_dtype} is provided")
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0:
        raise invalid(f"input {name}: the shape of a request's tensor must be known, got {sizes}")
    # One value may stand for all, and a short message must not make the server allocate terabytes.
    if math.prod(sizes) > max(_MAX_IMPLIED, proto.ByteSize()):
        raise invalid(f"input {name}: shape {sizes} is too large for a message of {proto.ByteSize()} bytes")
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise invalid(f"input {name}: not a valid TensorProto: {error}") from None
    return array


def _plain(proto: Any, dtype: str, apart: tuple[str, Any] | None = None) -> np.ndarray[Any, Any] | None:
    """Return the array of a proto that contains each of its values once, as clients write them; None for any other.

    A request has a tensor per column, and TensorFlow's own function takes ten times as long for a small one.
    """
    import numpy as np

    field = FIELDS.get(dtype)
    if field is None or proto.dtype != number(dtype) or proto.tensor_shape.unknown_rank:
        return None
    sizes = [dim.size for dim in proto.tensor_shape.dim]
    count = math.prod(sizes)
    if min(sizes, default=0) < 0:
        return None
    content = proto.tensor_content
    if apart is not None:
        if content or getattr(proto, field) or apart[0] not in ("", dtype):
            return None
        content = apart[1]
    if content and dtype != "string":
        numbers = np.frombuffer(content, dtype) if len(content) == count * np.dtype(dtype).itemsize else None
        return None if numbers is None else numbers.reshape(sizes).copy()
    if field == "int_val":
        return None
    values = content if apart is not None else getattr(proto, field)
    if (content and apart is None) or len(values) != count:
        return None
    array = np.empty(count, object if dtype == "string" else dtype)
    for begin in range(0, count, _PIECE):  # other threads run between two pieces
        array[begin : begin + _PIECE] = values[begin : begin + _PIECE]
    return array.reshape(sizes)


def _put_back(proto: Any, dtype: str, values: Any) -> None:
    """Write values that are apart into their TensorProto; see `wire.Parts`."""
    import numpy as np

    if dtype == "string":
        proto.string_val.extend(values)
    elif dtype:
        getattr(proto, FIELDS[dtype]).extend(np.frombuffer(values, dtype).tolist())
    else:
        proto.tensor_content = bytes(values)


@functools.cache
def number(dtype: str) -> int:
    """Return the number of a dtype in a TensorProto."""
    import tensorflow as tf

    return int(tf.dtypes.as_dtype(dtype).as_datatype_enum)


def to_proto(array: np.ndarray[Any, Any], spec_dtype: str, as_content: bool) -> Any:
    """Convert an array to a TensorProto.

    Args:
        array: an array of any shape.
        spec_dtype: TensorFlow's name of its dtype.
        as_content: write raw bytes to `tensor_content` instead of the repeated fields, except for text.

    Raises:
        RequestError: A TensorProto cannot hold the dtype.
    """
    import tensorflow as tf

    try:
        dtype = tf.dtypes.as_dtype(spec_dtype)
    except TypeError:
        raise RequestError(Code.UNIMPLEMENTED, f"no TensorProto of dtype {spec_dtype}") from None
    proto = tf.TensorShape(array.shape).as_proto()
    proto = _tensor_proto(dtype.as_datatype_enum, proto)
    field = FIELDS.get(dtype.name)
    if dtype.name == "string":
        proto.string_val.extend(_bytes(value) for value in array.ravel().tolist())
    elif as_content or field is None:
        if dtype.name in ("float16", "bfloat16") and not as_content:
            proto.half_val.extend(array.ravel().view("uint16").tolist())
        else:
            proto.tensor_content = array.tobytes()
    else:
        getattr(proto, field).extend(array.ravel().tolist())
    return proto


def _tensor_proto(dtype: int, shape: Any) -> Any:
    from tensorflow.core.framework import tensor_pb2

    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=shape)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
