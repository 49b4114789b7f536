"""Names of raw features in a model's signatures."""

from __future__ import annotations

import re

import pytest

from benison.serving.signature_names import argument_names


@pytest.mark.parametrize(
    ("column", "argument"),
    [
        ("age", "age"),
        ("a.b_2", "a.b_2"),
        ("sepal length (cm)", "sepal_length__cm_"),
        ("od280/od315", "od280_od315"),
        ("_hidden", "x_hidden"),
        ("größe", "gruf6udfe"),
        ("年齢", "u5e74u9f62"),
    ],
)
def test_a_name_keeps_what_tensorflow_takes(column, argument):
    assert argument_names([column]) == {column: argument}


def test_names_that_are_equal_to_tensorflow_get_a_number_and_plain_ones_stay():
    names = argument_names(["a b", "a_b", "Age", "age", "a-b"])
    assert names == {"Age": "Age", "a_b": "a_b", "age": "age_2", "a b": "a_b_2", "a-b": "a_b_3"}


def test_every_name_is_a_valid_operation_name():
    columns = ["", " ", "-", "/", "%", "日本", "a\nb", "<x>"]
    assert all(re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*", name) for name in argument_names(columns).values())
