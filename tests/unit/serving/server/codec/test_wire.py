"""Large gRPC messages are read and written in parts, with the values that protobuf reads and writes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2

from benison.serving.server import inference
from benison.serving.server.codec import tensors, wire
from benison.serving.server.codec.wire import LargeMessage
from benison.serving.server.status import RequestError, TooLarge

LIMIT = 10 << 20
COUNT = 6000
ARRAYS: dict[str, Any] = {
    "float32": np.linspace(-1, 1, COUNT, dtype="float32").reshape(-1, 3),
    "float64": np.linspace(-1, 1, COUNT),
    "int64": np.arange(COUNT) - 5,
    "int32": np.arange(COUNT, dtype="int32") - 5,
    "uint8": np.arange(COUNT).astype("uint8"),
    "int8": np.arange(COUNT).astype("int8"),
    "uint64": np.arange(COUNT, dtype="uint64") + 2**63,
    "bool": np.arange(COUNT) % 2 == 0,
    "float16": np.arange(COUNT).astype("float16"),
    "string": np.array([b"", b"a", "é".encode() * 9] * (COUNT // 3), object),
}


def large(request: Any) -> LargeMessage:
    return LargeMessage(type(request), request.SerializeToString())


def predict(array: Any, dtype: str, as_content: bool) -> Any:
    request = predict_pb2.PredictRequest(output_filter=["y"])
    request.model_spec.name = "m"
    request.inputs["é"].CopyFrom(tensors.to_proto(array, dtype, as_content))
    request.inputs["small"].CopyFrom(tf.make_tensor_proto([1.0]))
    return request


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", ARRAYS)
def test_a_tensor_in_parts_is_the_one_that_was_sent(dtype: str, as_content: bool) -> None:
    array = ARRAYS[dtype]
    parts = wire.take_apart(large(predict(array, dtype, as_content)), LIMIT)
    assert (parts.request.model_spec.name, list(parts.request.output_filter)) == ("m", ["y"])
    assert len(parts.request.inputs["small"].float_val) == 1
    if dtype in ("float32", "float64", "string") or as_content:
        assert parts.request.ByteSize() < 200  # the values are apart
    read = tensors.from_proto("é", parts.request.inputs["é"], dtype, parts.contents.get("é"))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert np.array_equal(read, array)
    assert read.flags.aligned


@pytest.mark.parametrize("as_content", [False, True])
def test_an_answer_in_pieces_is_the_one_that_protobuf_writes(as_content: bool) -> None:
    spec = predict_pb2.PredictResponse().model_spec
    spec.name, spec.version.value = "m", 3
    outputs = {f"{dtype}_é": np.concatenate([array] * 10) for dtype, array in ARRAYS.items()}
    outputs |= {"scalar": np.float32(1.5).reshape(()), "none": np.empty((0, 3), "int64")}
    dtypes = {name: name.split("_")[0] for name in outputs} | {"scalar": "float32", "none": "int64"}
    written = predict_pb2.PredictResponse.FromString(wire.response(spec, outputs, dtypes, as_content))
    expected = predict_pb2.PredictResponse(model_spec=spec)
    for name, values in outputs.items():
        expected.outputs[name].CopyFrom(tensors.to_proto(values, dtypes[name], as_content))
        assert np.array_equal(tf.make_ndarray(written.outputs[name]), values)
    if not as_content:  # half has a field of its own
        assert written == expected


def test_values_of_another_type_or_number_are_refused_as_in_a_small_message() -> None:
    for dtype, array, count in (("float64", ARRAYS["float32"], 1), ("float32", ARRAYS["float32"], 2)):
        request = predict(array, "float32", as_content=True)
        request.inputs["é"].tensor_shape.dim[0].size *= count
        parts = wire.take_apart(large(request), LIMIT)
        with pytest.raises(RequestError) as expected:
            tensors.from_proto("é", request.inputs["é"], dtype)
        with pytest.raises(RequestError) as error:
            tensors.from_proto("é", parts.request.inputs["é"], dtype, parts.contents["é"])
        assert error.value.message == expected.value.message


def test_examples_in_parts_are_those_of_a_small_message() -> None:
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(1.5)
    for with_context in (False, True):
        request = classification_pb2.ClassificationRequest()
        request.model_spec.name = "m"
        if with_context:
            request.input.example_list_with_context.context.CopyFrom(example)
            request.input.example_list_with_context.examples.extend([example] * COUNT)
        else:
            request.input.example_list.examples.extend([example] * COUNT)
        parts = wire.take_apart(large(request), LIMIT)
        assert parts.request.model_spec.name == "m"
        assert parts.rows is not None
        assert parts.rows.tolist() == inference.serialized_examples(request.input).tolist()
    several = inference_pb2.MultiInferenceRequest(input=request.input)
    several.tasks.add(method_name="a")
    several.tasks.add(method_name="b")
    parts = wire.take_apart(large(several), LIMIT)
    assert [task.method_name for task in parts.request.tasks] == ["a", "b"]
    assert parts.rows is not None
    assert len(parts.rows) == COUNT


def with_dims(count: int) -> Any:
    request = predict(ARRAYS["float32"], "float32", as_content=True)
    for _ in range(count):
        request.inputs["é"].tensor_shape.dim.add()
    return request


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (large(predict_pb2.PredictRequest(output_filter=[""] * 200_000)), TooLarge),
        (large(predict(np.array([b""] * 200_000, object), "string", as_content=False)), TooLarge),
        (large(predict(np.ones(700_000, np.int64), "int64", as_content=False)), TooLarge),
        (large(with_dims(40_000)), TooLarge),
        (LargeMessage(classification_pb2.ClassificationRequest, b"\x12\x00"), RequestError),
        (LargeMessage(classification_pb2.ClassificationRequest, b"\x12\x05\x0a"), RequestError),
        (LargeMessage(predict_pb2.PredictRequest, b"\xff" * 300_000), RequestError),
        (LargeMessage(predict_pb2.PredictRequest, b"\x0a\xff\xff\xff\xff\x7f"), RequestError),
        (LargeMessage(predict_pb2.PredictRequest, b"\x0a\x02\xff\xff"), RequestError),
    ],
)
def test_what_is_no_message_or_becomes_too_large_is_refused(message: LargeMessage, error: type[RequestError]) -> None:
    with pytest.raises(error):
        wire.take_apart(message, LIMIT)
