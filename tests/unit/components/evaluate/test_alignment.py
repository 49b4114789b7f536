"""Outputs of a served version are compared by the names of its classes, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.evaluate.alignment import NotComparable, align

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], np.float32)


def outputs(*classes: str) -> dict[str, np.ndarray]:
    return {"probabilities": PROBABILITIES, "classes": np.array([[name.encode() for name in classes]] * 2, object)}


def test_columns_are_ordered_by_name() -> None:
    np.testing.assert_array_equal(align(outputs("b", "c", "a"), ("a", "b", "c")), PROBABILITIES[:, [2, 0, 1]])


def test_another_set_of_classes_is_not_compared() -> None:
    with pytest.raises(NotComparable, match="only it has 'c', only the candidate has 'd'"):
        align(outputs("b", "c", "a"), ("a", "b", "d"))
    with pytest.raises(NotComparable, match=r"only it has 'c'$"):
        align(outputs("b", "c", "a"), ("a", "b"))


def test_another_kind_of_answer_is_not_compared() -> None:
    with pytest.raises(NotComparable, match="its answers are prediction, and the candidate's are probabilities"):
        align({"prediction": PROBABILITIES}, ("a", "b", "c"))
    with pytest.raises(NotComparable, match="its answers are probabilities, and the candidate's are prediction"):
        align(outputs("a", "b", "c"), ())
    np.testing.assert_array_equal(align({"prediction": PROBABILITIES}, ()), PROBABILITIES)


def test_a_batch_without_rows_has_one_column_per_class() -> None:
    empty = {"probabilities": PROBABILITIES[:0], "classes": np.zeros((0, 3), object)}
    assert align(empty, ("a", "b", "c")).shape == (0, 3)
