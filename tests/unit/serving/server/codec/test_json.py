"""JSON and tensors are converted by TF Serving's rules, and errors have its messages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from benison.serving.server.codec import json_answers, json_examples, json_tensors, json_values
from benison.serving.server.engine import TensorSpec
from benison.serving.server.status import RequestError

np_any: Any = np  # numpy's stubs do not let a scalar's class make an array


def specs(**dtypes: str) -> dict[str, TensorSpec]:
    return {name: TensorSpec(dtype, (-1,)) for name, dtype in dtypes.items()}


def read(body: str, **dtypes: str):
    return json_tensors.read_inputs(json_values.parse(body.encode()), specs(**dtypes))


NAN, INF = float("nan"), float("inf")
MIXED = specs(a="int64", f="float32", t="string", r="int64")
MISSING = {"a": -9007199254740991, "f": NAN, "t": ""}


@pytest.mark.parametrize(
    ("body", "dtype", "values"),
    [
        ('{"instances": [1, 2.5]}', "float32", [1.0, 2.5]),
        ('{"instances": [1, 2]}', "float64", [1.0, 2.0]),
        ('{"instances": [NaN, Infinity, -Infinity]}', "float32", [NAN, INF, -INF]),
        ('{"instances": [Inf, -Inf]}', "float32", [INF, -INF]),
        ('{"instances": [1e40]}', "float32", [INF]),
        ('{"instances": [-128, 127]}', "int8", [-128, 127]),
        ('{"instances": [0, 255]}', "uint8", [0, 255]),
        ('{"instances": [9223372036854775807, -9223372036854775808]}', "int64", [2**63 - 1, -(2**63)]),
        ('{"instances": [18446744073709551615]}', "uint64", [2**64 - 1]),
        ('{"instances": [true, false]}', "bool", [True, False]),
        ('{"instances": ["a", "ü"]}', "string", [b"a", "ü".encode()]),
        ('{"instances": ["a", {"b64": "/w=="}]}', "string", [b"a", b"\xff"]),
        ('{"instances": [{"b64": "_w"}]}', "string", [b"\xff"]),
        (r'{"instances": [{"b64": "YWJj\r\nZGVm\r\nZw =\t="}]}', "string", [b"abcdefg"]),
        ('{"instances": ["Inf", NaN]}', "float32", None),
        ('{"instances": [{"x": "Inf"}]}', "string", [b"Inf"]),
        ('{"instances": [[1, 2], [3, 4]]}', "int32", [[1, 2], [3, 4]]),
        ('{"instances": [[[1], [2]]]}', "int32", [[[1], [2]]]),
        ('{"instances": [[], []]}', "int32", np.zeros([2, 0])),
        ('{"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}', "int32", [[1, 2], [3, 4]]),
        ('{"inputs": [1, 2]}', "int32", [1, 2]),
        ('{"inputs": 7}', "int32", 7),
        ('{"inputs": []}', "int32", []),
        ('{"inputs": {"x": [[1], [2]]}}', "int32", [[1], [2]]),
        ('{"inputs": {"b64": "YQ=="}}', "string", b"a"),
        ('{"instances": [1]} and what follows', "int32", [1]),
        ('\ufeff{"instances": [1]}', "int32", [1]),
        ('{"instances": [1], "unknown": {"deep": []}}', "int32", [1]),
    ],
)
def test_values_become_a_tensor(body, dtype, values):
    if values is None:
        with pytest.raises(RequestError):
            read(body, x=dtype)
        return
    (array,) = read(body, x=dtype)[0].values()
    expected = np.array(values, object if dtype == "string" else dtype)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


def test_rows_of_several_inputs_become_columns():
    tensors, row_form = read('{"instances": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]}', a="int64", b="string")
    assert row_form
    assert tensors["a"].tolist() == [1, 2]
    assert tensors["b"].tolist() == [b"x", b"y"]


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [{"a": null, "f": 1.5, "t": "x", "r": 1}, {"a": -1, "r": 2}]}',
        '{"inputs": {"a": [null, -1], "f": [1.5, null], "t": ["x", ""], "r": [1, 2]}}',
    ],
)
def test_null_and_an_absent_key_are_missing_cells(body):
    inputs, _ = json_tensors.read_inputs(json_values.parse(body.encode()), MIXED, MISSING)
    assert inputs["a"].tolist() == [-9007199254740991, -1]
    assert inputs["f"].tolist()[0] == 1.5
    assert np.isnan(inputs["f"][1])
    assert inputs["t"].tolist() == [b"x", b""]
    assert inputs["r"].tolist() == [1, 2]


def test_an_absent_column_is_missing_in_every_row():
    inputs, _ = json_tensors.read_inputs({"inputs": {"r": [1, 2], "f": [0.5, 1]}}, MIXED, MISSING)
    assert inputs["a"].tolist() == [-9007199254740991] * 2
    assert inputs["t"].tolist() == [b"", b""]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"instances": [{"r": None, "a": 1}]}, "JSON Value: null Type: Null is not of expected type: int64"),
        ({"instances": [{"a": 1}]}, "keys must be equal to: a,f,r,t"),
        ({"instances": [{"r": 1, "aa": 1}]}, "JSON object: does not have named input: aa"),
        ({"inputs": {"a": [1]}}, "Missing named input: r in 'inputs' object."),
        ({"inputs": {"r": [1], "aa": [1]}}, "Missing named input: a in 'inputs' object."),
        ({"inputs": {"r": [None], "a": [1]}}, "JSON Value: null Type: Null is not of expected type: int64"),
    ],
)
def test_a_missing_cell_of_a_required_input_and_a_misspelt_one_are_refused(body, message):
    with pytest.raises(RequestError, match=message):
        json_tensors.read_inputs(body, MIXED, MISSING)


def test_of_a_key_that_comes_twice_the_last_value_counts():
    assert read('{"instances": [{"x": 1, "x": 2}], "instances": [{"x": 3, "x": 4}]}', x="int64")[0]["x"].tolist() == [4]


def test_columns_may_have_different_lengths_and_unknown_names():
    tensors, row_form = read('{"inputs": {"a": [1], "b": ["x", "y"], "c": 0}}', a="int64", b="string")
    assert not row_form
    assert tensors["a"].tolist() == [1]
    assert tensors["b"].tolist() == [b"x", b"y"]


@pytest.mark.parametrize(
    ("body", "dtypes", "message"),
    [
        ("", {"x": "int32"}, "JSON Parse error: The document is empty"),
        ("{", {"x": "int32"}, "JSON Parse error: "),
        ('{"a": "\\ud800"', {"x": "int32"}, "JSON Parse error: "),
        ('{"inputs": ["\\ud800"]}', {"x": "string"}, "JSON Parse error: The surrogate pair in string is invalid."),
        ("[" * 5000, {"x": "int32"}, "JSON Parse error: "),
        ('{"instances": [1e400]}', {"x": "float32"}, "JSON Parse error: Number too big to be stored in double: 1e400"),
        (f'{{"instances": [{"9" * 400}]}}', {"x": "float32"}, "JSON Parse error: Number too big to be stored in double"),
        ("[]", {"x": "int32"}, "JSON Value: [] Is not object"),
        ("{}", {"x": "int32"}, "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', {"x": "int32"}, "expecting only one of 'inputs' or 'instances' keys"),
        ('{"instances": {}}', {"x": "int32"}, "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', {"x": "int32"}, "No values in 'instances' array"),
        ('{"instances": [1.0]}', {"x": "int32"}, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ('{"instances": [true]}', {"x": "float32"}, "JSON Value: true Type: True is not of expected type: float"),
        ('{"instances": [1]}', {"x": "bool"}, "Type: Number is not of expected type: bool"),
        ('{"instances": [null]}', {"x": "float64"}, "Type: Null is not of expected type: double"),
        ('{"instances": [256]}', {"x": "uint8"}, "is not of expected type: uint8"),
        ('{"instances": [9223372036854775808]}', {"x": "int64"}, "is not of expected type: int64"),
        ('{"instances": [99999999999999999999999]}', {"x": "int64"}, "is not of expected type: int64"),
        ('{"instances": [1]}', {"x": "float16"}, "Conversion of JSON Value: 1 to type: half"),
        ('{"instances": [{"b64": 1}]}', {"x": "string"}, "does not have named input: b64"),
        ('{"inputs": [{"b64": "a", "c": 1}]}', {"x": "string"}, "not formatted correctly for base64 data"),
        ('{"instances": [{"b64": "*"}]}', {"x": "string"}, "Unable to base64 decode"),
        ('{"instances": [[1], 2]}', {"x": "int32"}, "element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting"),
        ('{"instances": [[1, 2], [3]]}', {"x": "int32"}, "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[1, 2], [[3], [4]]]}', {"x": "int32"}, "Expecting shape [2] but got: [2,1]"),
        ('{"inputs": [[1], 2]}', {"x": "int32"}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('{"inputs": [1, [2]]}', {"x": "int32"}, "Encountered list at unexpected level: 1 expected < 1"),
        ('{"inputs": [[1], [2, 3]]}', {"x": "int32"}, "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ('{"instances": [{"x": 1}, 2]}', {"x": "int32"}, "Expecting object but got list at item 1 of input list"),
        ('{"instances": [1, {"x": 1}]}', {"x": "int32"}, "Expecting value/list but got object at item 1 of input list"),
        ('{"instances": [{"a": 1}]}', {"a": "int32", "b": "int32"}, "keys must be equal to: a,b"),
        ('{"instances": [{"a": 1, "c": 1}]}', {"a": "int32"}, "element: 0 key: c of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: c"),
        ('{"instances": [1]}', {"a": "int32", "b": "int32"}, "instances is a plain list, but expecting list of objects"),
        ('{"inputs": [1]}', {"a": "int32", "b": "int32"}, "inputs is a plain value/list, but expecting an object"),
        ('{"inputs": {"a": 1}}', {"a": "int32", "b": "int32"}, "Missing named input: b in 'inputs' object."),
        ('{"inputs": ' + "[" * 200 + "]" * 200 + "}", {"x": "int32"}, "Lists are nested deeper than 31 levels"),
    ],
)  # fmt: skip
def test_an_error_names_the_broken_rule(body, dtypes, message):
    with pytest.raises(RequestError) as error:
        read(body, **dtypes)
    assert message in error.value.message
    assert len(error.value.message) < 1000


@pytest.mark.parametrize(
    ("outputs", "row_form", "answer"),
    [
        ({"y": np_any.float32([0.2, 9e6])}, True, '{"predictions":[0.2,9000000.0]}'),
        ({"y": np_any.float32([[0.1], [0.7]])}, True, '{"predictions":[[0.1],[0.7]]}'),
        ({"y": np_any.float32([NAN, INF, -INF, 0.2])}, True, '{"predictions":[NaN,Infinity,-Infinity,0.2]}'),
        ({"y": np_any.float64([NAN, 0.1])}, False, '{"outputs":[NaN,0.1]}'),
        ({"y": np.array(0.2, np.float32)}, False, '{"outputs":0.2}'),
        ({"y": np.array(NAN, np.float32)}, False, '{"outputs":NaN}'),
        ({"y": np.zeros([0], np.int32)}, True, '{"predictions":[]}'),
        ({"y": np.array([True, False])}, True, '{"predictions":[true,false]}'),
        ({"y": np.array([b"a", b"\xff"], object)}, True, '{"predictions":["a","\ufffd"]}'),
        ({"y_bytes": np.array([b"a"], object)}, True, '{"predictions":[{"b64":"YQ=="}]}'),
        ({"y_bytes": np.array([[b"a"]], object)}, False, '{"outputs":[[{"b64":"YQ=="}]]}'),
        ({"x_bytes": np_any.int32([1])}, True, '{"predictions":[1]}'),
        (
            {"a": np_any.int64([1, 2]), "b": np_any.float32([[0.2], [NAN]])},
            True,
            '{"predictions":[{"a":1,"b":[0.2]},{"a":2,"b":[NaN]}]}',
        ),
        ({"a": np_any.uint8([1]), "b": np_any.float32([[0.2]])}, True, '{"predictions":[{"a":1,"b":[0.2]}]}'),
        ({"a": np_any.int64([1, 2]), "b": np_any.float32(0.5)}, False, '{"outputs":{"a":[1,2],"b":0.5}}'),
    ],
)
def test_tensors_become_json(outputs, row_form, answer):
    outputs = {name: np.asarray(values) for name, values in outputs.items()}
    dtypes = {name: "string" if values.dtype == object else str(values.dtype) for name, values in outputs.items()}
    assert json_answers.predictions(outputs, specs(**dtypes), row_form).decode() == answer


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"y": np.array(1)}, "Tensor name: y has no shape information"),
        ({"a": np.array([1]), "b": np.array([1, 2])}, "Tensor name: b has inconsistent batch size: 2 expecting: 1"),
        ({"y": np_any.float16([1])}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_outputs_that_json_cannot_hold_are_refused(outputs, message):
    with pytest.raises(RequestError, match=message):
        json_answers.predictions(outputs, specs(**{n: str(v.dtype) for n, v in outputs.items()}), True)


@pytest.mark.parametrize("last", [1.5, NAN])
def test_a_large_answer_is_written_in_pieces_and_is_the_same(last: float, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.linspace(-1e20, 1, 20_000, dtype=np.float32)
    numbers[-1] = last
    texts = np.array([b"a", b"\xc3\xa9"] * 10_000, object)
    for outputs in ({"y": numbers}, {"y": numbers.reshape(-1, 4)}, {"y": numbers, "t": texts}, {"t": texts}):
        own = {name: TensorSpec("string" if name == "t" else "float32", None) for name in outputs}
        monkeypatch.setattr(json_answers, "_PIECE", 10_000)
        pieces = json_answers.predictions(outputs, own, row_form=True)
        monkeypatch.setattr(json_answers, "_PIECE", 1 << 30)
        assert pieces == json_answers.predictions(outputs, own, row_form=True)


def test_every_float32_reads_back_as_itself():
    values = np.random.default_rng(0).integers(0, 2**32, 5000, np.uint32).view(np.float32)
    values = values[np.isfinite(values)]
    answer = json_answers.predictions({"y": values}, specs(y="float32"), True)
    np.testing.assert_array_equal(np_any.float32(json.loads(answer)["predictions"]), values)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": {}}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [1]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{"a": None}]}, "Feature: a has element with unexpected JSON type: Null"),
        ({"examples": [{"a": [[1]]}]}, "Feature: a has element with unexpected JSON type: Array"),
        ({"examples": [{"a": {}}]}, "Feature: a has element with unexpected JSON type: Object"),
        ({"examples": [{"a": [1, "b"]}]}, "Unexpected element type in feature: a expecting type: int64"),
        ({"examples": [{"a": [1.5, 1]}]}, "Unexpected element type in feature: a expecting type: float"),
        ({"examples": [{"a": 2**63}]}, "Feature: a has uint64_t element. Only int64_t is supported."),
    ],
)
def test_examples_are_refused_by_rule(document, message):
    with pytest.raises(RequestError) as error:
        json_examples.read_examples(document)
    assert message in error.value.message


def test_features_take_the_type_of_their_values():
    parsed = json_examples.read_examples(
        {"examples": [{"i": [1, True], "f": 0.5, "s": ["a", {"b64": "/w=="}], "e": []}]}
    )
    (example,) = parsed.example_list.examples
    features = example.features.feature
    assert features["i"].int64_list.value == [1, 1]
    assert features["f"].float_list.value == [0.5]
    assert features["s"].bytes_list.value == [b"a", b"\xff"]
    assert features["e"].WhichOneof("kind") is None
