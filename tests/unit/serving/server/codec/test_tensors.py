"""Tensors of gRPC requests: every way to write one is read as TensorFlow reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.serving.server.codec.tensors import from_proto
from benison.serving.server.status import RequestError

VALUES: list[tuple[str, Any]] = [
    ("float32", [1.5, np.nan]),
    ("float32", [[1.5, 2.5], [-0.0, 1e30]]),
    ("float64", 2.5),
    ("int64", [-9007199254740991]),
    ("int64", []),
    ("int8", [1, -1]),
    ("bool", [True, False]),
    ("string", [b"a\x00", b"", "\u00e9".encode()]),
    ("string", [[b"a", b"b"]]),
    ("string", []),
]
FIELDS = {"float32": "float_val", "float64": "double_val", "int64": "int64_val", "int8": "int_val", "bool": "bool_val"}


@pytest.mark.parametrize(("dtype", "values"), VALUES)
def test_content_and_repeated_fields_are_the_same_array(dtype: str, values: Any) -> None:
    expected = np.array(values, object if dtype == "string" else dtype)
    as_content = tf.make_tensor_proto(expected, dtype=dtype)
    repeated = type(as_content)(dtype=as_content.dtype, tensor_shape=as_content.tensor_shape)
    getattr(repeated, FIELDS.get(dtype, "string_val")).extend(expected.ravel().tolist())
    for proto in (as_content, repeated):
        array = from_proto("x", proto, dtype)
        assert array.dtype == expected.dtype
        assert array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)
        array.fill(array.flat[0] if array.size else 0)  # it can be changed


def test_one_value_may_stand_for_all() -> None:
    proto = tf.make_tensor_proto(np.zeros(3, np.float32))
    short = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape, float_val=[7])
    assert from_proto("x", short, "float32").tolist() == [7, 7, 7]


def test_content_that_does_not_fit_the_shape_is_refused() -> None:
    proto = tf.make_tensor_proto(np.arange(3, dtype=np.int64))
    proto.tensor_content = proto.tensor_content[:-1]
    with pytest.raises(RequestError, match="input x: not a valid TensorProto"):
        from_proto("x", proto, "int64")
