"""The classes of a label in the rows: counted in every split, and checked before any training."""

from __future__ import annotations

from collections import Counter

import pytest

from benison.components.label_classes import LabelSchema
from benison.components.validate.label_values import classes_of
from benison.serving.errors import DataError

NO_SCHEMA = LabelSchema()


def splits(train: str, test: str) -> dict[str, Counter[str]]:
    return {"train": Counter(train), "valid": Counter(), "test": Counter(test)}


def test_the_classes_are_those_of_the_schema_or_else_of_train() -> None:
    assert classes_of("grade", "multiclass", splits("cba", "ab"), NO_SCHEMA, None).names == ("a", "b", "c")
    assert classes_of("grade", "multiclass", splits("ab", "abx"), LabelSchema(tuple("xba")), None).names == tuple("xba")


def test_a_class_that_train_does_not_have_is_named_with_its_rows() -> None:
    with pytest.raises(DataError, match=r"label 'grade': 2 rows of test have the class 'x', and no row of train.*list"):
        classes_of("grade", "multiclass", splits("ab", "axx"), NO_SCHEMA, None)


def test_a_binary_label_with_more_classes_is_refused() -> None:
    for rows in (splits("abcd", "ab"), splits("ab", "abcd")):
        with pytest.raises(DataError, match=r"problem is binary, but the rows have 4 classes: 'a', 'b', 'c', 'd'"):
            classes_of("grade", "binary", rows, NO_SCHEMA, None)
