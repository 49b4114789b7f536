"""Packed rows equal the same rows as one tensor per input; unusual rows are not packed."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from benison.serving.server.codec import json_answers, json_tensors, packing
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
    arrays = packing.arrays(GROUPS, [packed_rows for packed_rows in packed if packed_rows is not None])
    return {
        name: row
        for group, array in zip(GROUPS, arrays, strict=True)
        for name, row in zip(group.names, array, strict=True)
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
