"""Names of columns in a model's signatures: for any names, TensorFlow takes them and each is that of one column."""

from __future__ import annotations

import inspect
import keyword
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benison.serving import missing_values, predict
from benison.serving.signature_names import argument_names, examples_name

NASTY = [
    *(
        "class",
        "lambda",
        "None",
        "self",
        "args",
        "examples",
        "serialized_examples",
        "label",
        "classes",
        "probabilities",
    ),
    *(
        "prediction",
        "decision",
        "inputs",
        "instances",
        "SELECT",
        "null",
        "true",
        "a.b",
        "a_b",
        "a/b",
        "a b",
        "a\tb",
        "a",
    ),
    *(
        "A",
        "1st",
        "9",
        "_a",
        "__init__",
        "it's",
        'say "x"',
        "größe",
        "grösse",
        "年齢",
        "🙂",
        "a,b",
        "*",
        "%s",
        "{x}",
        "$ref",
    ),
    *("x_class", "a_b_2", "A_2", "x_self", "xb", "", " ", "\n", "\\", "é", "e\u0301", "ß", "x" * 300),
]
COLUMNS = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=6)), unique=True, max_size=12)


@pytest.mark.parametrize(
    ("column", "argument"),
    [
        ("age", "age"),
        ("a_b2", "a_b2"),
        ("a.b", "a_b"),
        ("sepal length (cm)", "sepal_length__cm_"),
        ("od280/od315", "od280_od315"),
        ("_hidden", "x_hidden"),
        ("1st", "x_1st"),
        ("class", "x_class"),
        ("self", "x_self"),
        ("größe", "gruf6udfe"),
        ("年齢", "u5e74u9f62"),
    ],
)
def test_a_name_keeps_what_tensorflow_takes(column, argument):
    assert argument_names([column]) == {column: argument}


def test_names_that_are_equal_to_tensorflow_get_a_number_and_plain_ones_stay():
    names = argument_names(["a b", "a_b", "Age", "age", "a-b"])
    assert names == {"Age": "Age", "a_b": "a_b", "age": "age_2", "a b": "a_b_2", "a-b": "a_b_3"}


def test_no_column_gets_the_name_of_another_one():
    assert argument_names(["Age", "age", "age_2"]) == {"Age": "Age", "age": "age_3", "age_2": "age_2"}
    assert argument_names(["class"], others=["x_class", "class"]) == {"class": "x_class_2"}


@given(columns=COLUMNS, others=COLUMNS)
def test_every_argument_is_valid_and_means_one_column(columns: list[str], others: list[str]) -> None:
    names = argument_names(columns, others)
    assert names.keys() == set(columns)
    for column, argument in names.items():
        inspect.Parameter(argument, inspect.Parameter.KEYWORD_ONLY)  # as TensorFlow makes one
        assert argument.isascii()
        assert not argument.startswith("_")
        assert not keyword.iskeyword(argument)
        assert argument != "self"
        assert argument == column or argument not in {*columns, *others}
    assert len({argument.lower() for argument in names.values()}) == len(columns)
    assert argument_names(reversed(columns), set(others)) == names, "the order of the columns does not matter"


@given(columns=COLUMNS)
def test_a_plain_name_does_not_change(columns: list[str]) -> None:
    lower = [column.lower() for column in columns]
    for column, argument in argument_names(columns).items():
        plain = column.isascii() and column.isidentifier() and not column.startswith("_")
        if plain and not keyword.iskeyword(column) and column != "self" and lower.count(column.lower()) == 1:
            assert argument == column


@given(columns=COLUMNS)
def test_serialised_examples_have_a_name_that_no_column_has(columns: list[str]) -> None:
    assert examples_name(columns) not in columns
    assert examples_name([*columns, "examples"]) != "examples"
    assert examples_name({*columns} - {"examples"}) == "examples"


@given(columns=COLUMNS, others=COLUMNS)
def test_a_row_by_columns_and_a_row_by_inputs_are_the_same_row(columns: list[str], others: list[str]) -> None:
    arguments = argument_names(columns, others)
    described = missing_values.describe({arguments[column]: (column, "int64", True) for column in columns})
    assert missing_values.arguments(described) == arguments
    row: dict[str, Any] = {column: number for number, column in enumerate(columns)}
    by_input = {arguments[column]: number for column, number in row.items()}
    more = {column: "another column of the data" for column in others if column not in columns}
    for given_row in (row, by_input, {**more, **row}):
        assert by_input.items() <= predict._by_input(given_row, described).items()


def test_tensorflow_exports_and_calls_a_signature_with_all_of_these_names(tmp_path):
    import tensorflow as tf

    arguments = argument_names(NASTY)
    specs = {name: tf.TensorSpec([None], tf.float32, name=name) for name in arguments.values()}
    module = tf.Module()
    add = tf.function(lambda **inputs: {"sum": tf.add_n([inputs[name] for name in specs])}, autograph=False)
    examples = tf.TensorSpec([None], tf.string, name=examples_name(NASTY))
    count = tf.function(lambda **inputs: {"size": tf.strings.length(inputs[examples.name])}, autograph=False)
    signatures = {
        "raw": add.get_concrete_function(**specs),
        "serving_default": count.get_concrete_function(**{examples.name: examples}),
    }
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    raw = tf.saved_model.load(str(tmp_path)).signatures["raw"]
    assert raw.structured_input_signature[1].keys() == specs.keys()
    assert raw(**{name: tf.constant([1.0]) for name in specs})["sum"].numpy() == [len(NASTY)]
