"""Requests with the columns' own names are read as those with the names of the signature."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benison.serving import missing_values
from benison.serving.server import inference
from benison.serving.server.codec import column_names, json_tensors
from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.engines import raw_inputs
from benison.serving.server.status import RequestError
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import MANIFEST
from tests.unit.serving.test_signature_names import COLUMNS


def signature(columns: list[str], optional: bool = False) -> Signature:
    arguments = argument_names(columns)
    inputs = {arguments[column]: TensorSpec("int64", (-1,)) for column in columns}
    missing = dict.fromkeys(inputs, -1) if optional else {}
    own = {column: argument for column, argument in arguments.items() if column != argument}
    return Signature("raw", "", inputs, {"y": TensorSpec("int64", (-1,))}, missing=missing, columns=own, raw=True)


@given(columns=COLUMNS, optional=st.booleans())
def test_rows_and_columns_may_have_the_names_of_the_data(columns: list[str], optional: bool) -> None:
    assume(columns)
    arguments, raw = argument_names(columns), signature(columns, optional)
    row = {column: number for number, column in enumerate(columns)}
    by_input = {arguments[column]: number for column, number in row.items()}
    for document, expected in (
        ({"instances": [row, by_input]}, {name: [number] * 2 for name, number in by_input.items()}),
        ({"inputs": {name: [number] for name, number in row.items()}}, {n: [v] for n, v in by_input.items()}),
    ):
        tensors, _ = column_names.read_inputs(document, raw)
        assert {name: values.tolist() for name, values in tensors.items()} == expected
    assert column_names.rows_by_input([row, by_input], raw) == [by_input, by_input]


@given(columns=COLUMNS)
def test_a_missing_cell_is_that_of_its_own_column(columns: list[str]) -> None:
    assume(columns)
    arguments, raw = argument_names(columns), signature(columns, optional=True)
    for column in columns:
        tensors, _ = column_names.read_inputs({"instances": [{column: 7}]}, raw)
        assert {name: values.tolist() for name, values in tensors.items()} == {
            **{name: [-1] for name in raw.inputs},
            arguments[column]: [7],
        }


@pytest.mark.parametrize(
    ("document", "prices", "sizes"),
    [
        (
            {"instances": [{"price (€)": "1.200,50 €", "size": "$2,000"}, {"price (€)": 3, "size": 4}]},
            [1200.5, 3],
            [2000, 4],
        ),
        ({"instances": [{"price (€)": "36 %", "size": None}]}, [36], [-1]),
        ({"inputs": {"price (€)": ["12,5", 3], "size": ["1,000", 2]}}, [12.5, 3], [1000, 2]),
    ],
)
def test_a_request_may_have_the_texts_of_amounts_as_in_the_csv(document, prices, sizes):
    raw = amounts()
    tensors, _ = column_names.read_inputs(document, raw)
    assert [tensors["price____"].tolist(), tensors["size"].tolist()] == [prices, sizes]


@pytest.mark.parametrize("cell", ["1,200.5", "much", "", True])
def test_a_text_that_is_no_amount_of_its_column_is_refused_by_its_name(cell):
    with pytest.raises(RequestError, match=r"key: price \(€\).*is not of expected type: float"):
        column_names.read_inputs({"instances": [{"price (€)": cell, "size": 1}]}, amounts())
    with pytest.raises(RequestError, match="is not of expected type: int64"):
        column_names.read_inputs({"instances": [{"price (€)": 1, "size": "$5.50"}]}, amounts())


def amounts() -> Signature:
    inputs = {"price____": TensorSpec("float32", (-1,)), "size": TensorSpec("int64", (-1,))}
    forms = {"price____": "1.234,5", "size": "1,234.5"}
    own = {"price (€)": "price____"}
    return Signature("raw", "", inputs, {}, missing={"size": -1}, columns=own, amounts=forms, raw=True)


@given(columns=COLUMNS)
def test_grpc_takes_both_names(columns: list[str]) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    assume(columns)
    arguments, raw = argument_names(columns), signature(columns)

    engine: Any = SimpleNamespace(signatures={"raw": raw})
    for names in (arguments, dict(zip(arguments.values(), arguments.values(), strict=True))):
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = "raw"
        for number, name in enumerate(names):
            request.inputs[name].CopyFrom(tf.make_tensor_proto([number], tf.int64))
        call = inference.predict_call(engine, request)
        expected = {argument: [number] for number, argument in enumerate(arguments.values())}
        assert {name: values.tolist() for name, values in call.inputs.items()} == expected


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"instances": [{"class": 1.5, "b": 1}]}, "key: class of 'instances' list.*1.5 Type: Number"),
        ({"instances": [{"x_class": 1.5, "b": 1}]}, "key: class of 'instances' list.*1.5 Type: Number"),
        ({"instances": [{"class": 1, "x_class": 2, "b": 1}]}, "does not have named input: x_class"),
        ({"instances": [{"class": 1, "b": 1, "beak": 2}]}, "does not have named input: beak"),
        ({"instances": [{"class": 1}]}, "keys must be equal to: b,class"),
        ({"inputs": {"b": [1]}}, "Missing named input: class in 'inputs' object"),
    ],
)
def test_messages_contain_the_columns_own_names(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        column_names.read_inputs(document, signature(["class", "b"]))


def test_a_model_without_such_columns_answers_in_tf_servings_words() -> None:
    plain = signature(["a"])
    assert plain.columns == {}
    for document in ({"instances": [{"b": 1}]}, {"inputs": 3.5}, {}):
        with pytest.raises(RequestError) as expected:
            json_tensors.read_inputs(document, plain.inputs)
        with pytest.raises(RequestError) as error:
            column_names.read_inputs(document, plain)
        assert error.value.message == expected.value.message
    assert np.array_equal(column_names.read_inputs({"instances": [{"a": 1}]}, plain)[0]["a"], [1])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"instances": [{"class": [1], "b": 1}]},
            r"input class: expected one value per row, got values of shape \[1,1\]",
        ),
        ({"instances": [{"class": [[1], [2]], "b": 1}]}, r"input class: expected one value .* shape \[1,2,1\]"),
        ({"instances": [{"class": [], "b": 1}]}, r"input class: expected one value .* shape \[1,0\]"),
        ({"inputs": {"class": [1, 2], "b": [1]}}, "inputs have different numbers of rows: class 2, b 1"),
    ],
)
def test_a_list_in_a_cell_is_refused_with_the_columns_name(document: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        column_names.read_inputs(document, signature(["class", "b"]))


def test_an_input_of_a_fused_model_may_be_a_list() -> None:
    inputs = {"pair": TensorSpec("int64", (-1, 2)), "any": TensorSpec("int64", None)}
    fused = replace(signature(["a"]), inputs=inputs)
    tensors, _ = column_names.read_inputs({"instances": [{"pair": [1, 2], "any": [[3]]}]}, fused)
    assert {name: values.shape for name, values in tensors.items()} == {"pair": (1, 2), "any": (1, 1, 1)}
    with pytest.raises(RequestError, match=r"input pair: expected shape \[-1,2\], got values of shape \[1\]"):
        column_names.read_inputs({"instances": [{"pair": 1, "any": 3}]}, fused)
    with pytest.raises(RequestError, match=r"input pair: expected shape \[-1,2\], got values of shape \[1,3\]"):
        column_names.read_inputs({"instances": [{"pair": [1, 2, 3], "any": 3}]}, fused)


def test_a_single_value_is_a_column_of_one_row() -> None:
    tensors, _ = column_names.read_inputs({"inputs": {"class": 3, "b": [4]}}, signature(["class", "b"]))
    assert {name: values.tolist() for name, values in tensors.items()} == {"x_class": [3], "b": [4]}


def test_the_model_of_another_tool_may_take_lists() -> None:
    theirs = replace(signature(["a"]), raw=False)
    assert column_names.read_inputs({"instances": [{"a": [1, 2]}]}, theirs)[0]["a"].shape == (1, 2)


@pytest.mark.parametrize(
    ("manifest", "amounts"),
    [
        ('{"amounts": {"price (€)": "1.234,5", "other": "1,234.5", "size": "?"}}', {"price": "1.234,5"}),
        ("{}", {}),
        ("no JSON", {}),
        (None, {}),
    ],
)
def test_the_manifest_of_a_version_says_which_inputs_are_amounts(tmp_path, manifest, amounts):
    inputs = {"price": ("price (€)", "float32", True), "size": ("size", "int64", True)}
    missing_values.write(tmp_path, missing_values.describe(inputs))
    if manifest is not None:
        (tmp_path / MANIFEST).write_text(manifest, encoding="utf-8")
    assert raw_inputs.read(str(tmp_path)).amounts == amounts
