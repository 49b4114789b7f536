"""The order of a label's classes, and the positive one, come from names and the schema, never from frequency."""

from __future__ import annotations

import pytest
import tensorflow as tf
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components import transform
from benison.components.label_classes import TAG, LabelSchema, by_value, ordered
from benison.serving.errors import DataError
from benison.serving.vocabulary_lines import as_line, from_line

NO_SCHEMA = LabelSchema()


def schema(text: str) -> LabelSchema:
    return LabelSchema.of(text_format.Parse(text, schema_pb2.Schema()), "late")


@pytest.mark.parametrize(
    ("names", "positive", "order", "why"),
    [
        (["yes", "no"], None, ("no", "yes"), "by its name"),
        (["True", "False"], None, ("False", "True"), "by its name"),
        (["1", "0"], None, ("0", "1"), "last by value"),
        (["2", "10"], None, ("2", "10"), "last by value"),
        (["-1", "1"], None, ("-1", "1"), "last by value"),
        (["stay", "churn"], None, ("churn", "stay"), "last by value"),
        (["stay", "churn"], "churn", ("stay", "churn"), "set in the YAML"),
        (["yes", "no"], "no", ("yes", "no"), "set in the YAML"),
        (["yes", "no"], "true", ("no", "yes"), "set in the YAML"),  # YAML reads yes as true
        (["1.000000", "0.000000"], "0", ("1.000000", "0.000000"), "set in the YAML"),
    ],
)
def test_the_positive_class_is_last(names: list[str], positive: str | None, order: tuple[str, ...], why: str) -> None:
    for rows in (names, names[::-1], names[:1] * 9 + names[1:], names[:1] + names[1:] * 9):
        classes = ordered("late", "binary", rows, NO_SCHEMA, positive)
        assert classes.names == order
        assert classes.positive == order[-1]
        assert classes.why.startswith(why)


def test_several_classes_have_the_order_of_the_schema_or_of_their_values() -> None:
    assert ordered("late", "multiclass", ["c", "a"], LabelSchema(("b", "c", "a"))).names == ("b", "c", "a")
    assert ordered("late", "multiclass", ["c", "a"], NO_SCHEMA).names == ("a", "c")
    assert by_value(["10", "9", "1"]) == ("1", "9", "10")
    assert by_value(["10", "9", "x"]) == ("10", "9", "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'feature { name: "late" type: BYTES domain: "d" annotation { tag: "positive: no" } } '
            'string_domain { name: "d" value: ["yes", "no"] }',
            LabelSchema(("yes", "no"), "no"),
        ),
        ('feature { name: "late" type: BYTES string_domain { value: ["b", "a"] } }', LabelSchema(("b", "a"))),
        ('feature { name: "late" bool_domain { true_value: "1" false_value: "0" } }', LabelSchema(("0", "1"))),
        ('feature { name: "late" type: INT bool_domain {} annotation { tag: "positive: 0" } }', LabelSchema((), "0")),
        ('feature { name: "other" type: BYTES }', LabelSchema()),
    ],
)
def test_a_schema_lists_the_classes_and_names_the_positive_one(text: str, expected: LabelSchema) -> None:
    assert schema(text) == expected


def test_the_schema_decides_where_the_yaml_does_not() -> None:
    classes = ordered("late", "binary", [], LabelSchema(("yes", "no"), "no"))
    assert (classes.names, classes.positive, classes.why) == (("yes", "no"), "no", "set in the schema")
    assert str(classes) == "positive class: no (set in the schema); negative class: yes"
    assert ordered("late", "binary", [], LabelSchema(("good", "bad"))).positive == "bad"


@pytest.mark.parametrize(
    ("problem", "names", "label_schema", "positive", "message"),
    [
        ("binary", ["a", "b", "c", "d"], NO_SCHEMA, None, "problem is binary, but the rows have 4 classes: 'a', 'b'"),
        ("binary", ["a", "b"], LabelSchema(("a", "b", "c")), None, "the schema lists 3 classes.*problem: multiclass"),
        ("multiclass", ["a"], NO_SCHEMA, None, "the rows have 1 classes"),
        ("binary", ["yes", "no"], NO_SCHEMA, "yess", "names 'yess', which is not a class.*did you mean 'yes'"),
        ("binary", ["yes", "no"], LabelSchema((), "no"), "yes", "'yes' in the YAML and 'no' in the schema"),
        ("binary", ["a", "b"], LabelSchema((), "c"), None, "the schema's annotation names 'c'"),
    ],
)
def test_classes_that_do_not_fit_are_refused(
    problem: str, names: list[str], label_schema: LabelSchema, positive: str | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ordered("late", problem, names, label_schema, positive)


NAMES = [
    "a\nb",
    "a\r\nb",
    "a\\nb",
    "\\",
    "\\\\n",
    "a\tb",
    'say "x"',
    "it's",
    " yes",
    "yes ",
    "x" * 300,
    "größe",
    "\n",
    "1.0",
]


@given(name=st.one_of(st.sampled_from(NAMES), st.text()))
def test_every_class_has_a_line_of_its_own(name: str) -> None:
    line = as_line(name)
    assert "\n" not in line
    assert "\r" not in line
    assert from_line(line) == name


@given(names=st.lists(st.one_of(st.sampled_from(NAMES), st.text(alphabet="\\nr\n\rab", max_size=5)), min_size=1))
def test_a_graph_writes_the_same_lines(names: list[str]) -> None:
    lines = transform._as_lines(tf.constant(names))
    assert [line.decode() for line in lines.numpy()] == [as_line(name) for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_any_class_may_be_the_positive_one(name: str) -> None:
    schema = schema_pb2.Schema()
    schema.feature.add(name="late").annotation.tag.append(f"{TAG} {name}")
    told = LabelSchema.of(schema, "late")
    assert told.positive == name
    for declared in (name, None):
        assert ordered("late", "binary", ["another", name], told, declared).names == ("another", name)


def test_a_float_as_a_class_is_written_as_given() -> None:
    floats = tf.constant([0.0, 1.0, -2.0, 0.5, 0.1, 1e20, 1.5e-7, float("nan")], tf.float32)
    written = [b"0.0", b"1.0", b"-2.0", b"0.5", b"0.1", b"1e+20", b"1.5e-07", b"nan"]
    assert transform.as_text(floats).numpy().tolist() == written
    assert transform.as_text(tf.constant([1, -3])).numpy().tolist() == [b"1", b"-3"]
