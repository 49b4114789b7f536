"""Packed rows equal the same rows as one tensor per input; unusual rows are not packed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from benison.serving.server.codec import json_answers, json_tensors, packing
from benison.serving.server.codec.tensors import from_proto
from benison.serving.server.engine import Signature, TensorSpec

np_any: Any = np  # numpy's stubs do not let a scalar's class make an array

ONE = (-1,)
SPECS = {
    "a": TensorSpec("float32", ONE),
    "b": TensorSpec("string", ONE),
    "c": TensorSpec("int64", ONE),
    "d": TensorSpec("float32", ONE),
    "e": TensorSpec("float64", ONE),
    "f": TensorSpec("int32", ONE),
    "g": TensorSpec("string", ONE),
}
SIGNATURE = Signature("raw", "", SPECS, {})
GROUPS = packing.groups(SIGNATURE)
ROW: dict[str, Any] = {"a": 1.5, "b": "x", "c": 3, "d": -2, "e": 0.1, "f": 7, "g": ""}


def unpacked(*requests: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Pack the rows of several requests; return the values of each input."""
    read = packing.reader(GROUPS)
    packed = [read(rows) for rows in requests]
    return by_input([packed_rows for packed_rows in packed if packed_rows is not None])


def by_input(packed: list[packing.PackedRows]) -> dict[str, np.ndarray]:
    arrays = packing.arrays(GROUPS, packed)
    return {
        name: column
        for group, array in zip(GROUPS, arrays, strict=True)
        for name, column in zip(group.names, array.T, strict=True)
    }


def texts(values: np.ndarray) -> list[Any]:
    return [value.encode() if isinstance(value, str) else value for value in values.tolist()]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"a": float("nan"), "e": float("inf")},
        {"a": 1e39},  # beyond a float32
        {"a": 16777217, "e": 2**53 + 1},
        {"c": 2**63 - 1, "f": -(2**31)},
        {"b": "not ASCII: é", "g": "\x00"},
        {"b": "\ud800"},
    ],
)
def test_packed_rows_equal_the_tensors_of_the_plain_route(changes):
    rows = [ROW, {**ROW, **changes}, dict(reversed({**ROW, "a": 9}.items()))]
    expected, _ = json_tensors.read_inputs({"instances": rows}, SPECS)
    for packed in (unpacked(rows), unpacked(rows[:1], rows[1:])):
        for name, values in expected.items():
            if SPECS[name].dtype == "string":
                assert texts(packed[name]) == values.tolist()
            else:
                assert packed[name].dtype == values.dtype
                np.testing.assert_array_equal(packed[name], values)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [1.5],
        [[1.5]],
        [{**ROW, "more": 1}],
        [{name: value for name, value in ROW.items() if name != "g"}],
        [{**{name: value for name, value in ROW.items() if name != "g"}, "h": ""}],
        [ROW, 1],
        *(
            [ROW, {**ROW, name: value}]
            for name, value in [
                ("a", True),
                ("a", "1"),
                ("a", None),
                ("a", [1.0]),
                ("a", 10**400),
                ("b", 1),
                ("b", {"b64": "eA=="}),
                ("b", ["x"]),
                ("c", 1.0),
                ("c", 2**63),
                ("c", False),
                ("f", 2**31),
            ]
        ),
    ],
)
def test_unusual_rows_are_left_to_the_plain_route(rows):
    assert packing.reader(GROUPS)(rows) is None


COLUMNS: dict[str, np.ndarray] = {
    "a": np_any.float32([1.5, np.nan, 1e-45]),
    "b": np.array([b"x", b"", b"\xff"], object),
    "c": np_any.int64([2**63 - 1, -(2**63), 0]),
    "d": np_any.float32([-0.0, np.inf, 16777217]),
    "e": np_any.float64([0.1, 1e300, -1]),
    "f": np_any.int32([-(2**31), 2**31 - 1, 0]),
    "g": np.array([b"a\x00", b"b", b"c"], object),
}
FIELDS = {"float32": "float_val", "float64": "double_val", "int64": "int64_val", "int32": "int_val"}


def protos(rows: int, columns: Mapping[str, np.ndarray] = COLUMNS) -> Any:
    """Return the inputs of a PredictRequest: in odd places numbers are in `tensor_content`, in even ones they are not."""
    inputs = predict_pb2.PredictRequest().inputs
    for position, (name, values) in enumerate(columns.items()):
        inputs[name].CopyFrom(tf.make_tensor_proto(values[:rows]))
        if values.dtype != object:
            inputs[name].ClearField("tensor_content")
            inputs[name].ClearField(FIELDS[str(values.dtype)])
            if position % 2:
                inputs[name].tensor_content = values[:rows].tobytes()
            else:
                getattr(inputs[name], FIELDS[str(values.dtype)]).extend(values[:rows].tolist())
    return inputs


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_packed_tensors_equal_the_tensors_of_the_plain_route(rows):
    reversed_columns = dict(reversed(COLUMNS.items()))
    read = packing.tensor_reader(GROUPS)
    requests = [read(protos(rows)), read(protos(rows, reversed_columns))]
    assert [request and request[1] for request in requests] == [rows, rows]
    packed = by_input([request[0] for request in requests if request])
    for name, values in COLUMNS.items():
        expected = from_proto(name, protos(rows)[name], SPECS[name].dtype)
        assert packed[name].dtype == expected.dtype
        np.testing.assert_array_equal(packed[name], np.concatenate([values[:rows], expected]))


def _cleared(field: str) -> Callable[[Any], None]:
    return lambda inputs: inputs["a"].ClearField(field)


@pytest.mark.parametrize(
    "change",
    [
        _cleared("tensor_shape"),
        _cleared("dtype"),
        _cleared("float_val"),
        lambda inputs: inputs["a"].float_val.append(1),
        lambda inputs: setattr(inputs["a"].tensor_shape, "unknown_rank", True),
        lambda inputs: inputs["a"].tensor_shape.dim.add(size=1),
        lambda inputs: setattr(inputs["a"].tensor_shape.dim[0], "size", -1),
        lambda inputs: setattr(inputs["d"], "tensor_content", inputs["d"].tensor_content + b"0"),
        lambda inputs: setattr(inputs["b"], "tensor_content", b"x"),
        lambda inputs: inputs["b"].CopyFrom(inputs["a"]),
        lambda inputs: inputs["a"].CopyFrom(tf.make_tensor_proto(COLUMNS["a"][:1])),
        lambda inputs: inputs.pop("g"),
        lambda inputs: inputs["h"].CopyFrom(inputs["g"]),
        lambda inputs: [inputs.pop("g"), inputs["h"].CopyFrom(inputs["b"])],
        lambda inputs: inputs.clear(),
    ],
)
def test_unusual_tensors_are_left_to_the_plain_route(change):
    inputs = protos(2)
    change(inputs)
    assert packing.tensor_reader(GROUPS)(inputs) is None


@pytest.mark.parametrize("rows", [0, 1000])
def test_requests_without_rows_and_with_many_are_left_to_the_plain_route(rows):
    columns = {name: np.resize(values, rows) for name, values in COLUMNS.items()}
    inputs = {name: tf.make_tensor_proto(values, SPECS[name].dtype, shape=[rows]) for name, values in columns.items()}
    assert packing.tensor_reader(GROUPS)(inputs) is None


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"a": TensorSpec("float32", ONE)}, "fewer than two inputs"),
        ({"a": SPECS["a"], "b": TensorSpec("float32", (-1, 2))}, "input b is not one value per row"),
        ({"a": SPECS["a"], "b": TensorSpec("float32", None)}, "input b is not one value per row"),
        ({"a": SPECS["a"], "b": TensorSpec("bool", ONE)}, "input b is of type bool"),
    ],
)
def test_packing_blocker_says_why_a_signature_cannot_be_packed(inputs, why):
    assert packing.packing_blocker(Signature("s", "", inputs, {})) == why
    assert packing.groups(Signature("s", "", inputs, {})) == ()


def test_an_input_that_may_be_left_out_is_not_packed():
    signature = Signature("raw", "", SPECS, {}, defaults={"c": np_any.int64([1])})
    assert packing.packing_blocker(signature) == "input c may be left out"


def test_every_format_is_as_wide_as_its_numpy_type():
    for group in GROUPS:
        if group.dtype != "string":
            assert (
                struct.calcsize(f"={packing.FORMATS[group.dtype]}") == np.dtype(packing.FORMATS[group.dtype]).itemsize
            )


def classes(*names: bytes) -> np.ndarray:
    return np.array([list(names)] * 3, object)


@pytest.mark.parametrize(
    "outputs",
    [
        {"p": np_any.float32([[0.1, 0.9], [1e-9, 3], [2, 1e20]])},
        {"p": np_any.float32([0.1, 0.2, 5])},
        {"p": np_any.float32([[0.1], [0.2], [5]])},
        {"p": np_any.float32([[[0.1, 1]], [[0.2, 2]], [[5, 3]]])},
        {"p": np.zeros((3, 0), np.float32)},
        {"p": np.zeros((3, 0, 2), np.float32)},
        {"p": np_any.float32([0.1, float("nan"), float("-inf")])},
        {"n": np_any.int64([1, -(2**62), 0]), "p": np_any.float64([0.1, 1 / 3, 1])},
        {"yes": np_any.array([True, False, True]), "100%": np_any.uint8([1, 2, 3])},
        {"classes": classes(b"a],[b", b'"', "é".encode(), b"\xff")},
        {"text": np.array([b"x", b"x", b""], object), "raw_bytes": np.array([b"\xff", b"", b"a"], object)},
        {"deep": np.array([[[b"a"]], [[b"b"]], [[b"c"]]], object)},
    ],
)
@pytest.mark.parametrize("sizes", [[1, 1, 1], [2, 1], [3]])
def test_the_answers_of_a_shared_run_are_those_of_each_request(outputs, sizes):
    specs = {
        name: TensorSpec("string" if values.dtype == object else str(values.dtype), values.shape)
        for name, values in outputs.items()
    }
    bodies = json_answers.prediction_bodies(outputs, specs, sizes)
    assert bodies == [json_answers.predictions(part, specs, True) for part in json_answers.split(outputs, sizes)]
    assert [len(json.loads(body)["predictions"]) for body in bodies] == sizes
