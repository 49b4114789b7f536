"""Tests of LabelCheck: a column that alone predicts the label is suspicious, one that only helps is not."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.validate import label_check
from benison.serving.errors import DataError

RNG = np.random.default_rng(3)
ROWS = 4000
LATE = RNG.random(ROWS) < 0.2
LABEL = np.where(LATE, "yes", "no")


@pytest.mark.parametrize(
    ("values", "suspicious"),
    [
        (np.where(LATE, "arrived late", "arrived"), True),
        (LATE * 30.0 + RNG.random(ROWS), True),
        (np.where(LATE, RNG.random(ROWS), np.nan), True),
        (np.where(LATE, "", RNG.choice(["a", "b"], ROWS)), True),
        (LATE * 1.0 + RNG.normal(0, 1, ROWS), False),
        (np.array([f"id-{i}" for i in range(ROWS)]), False),
        (np.arange(ROWS, dtype=float), False),
        (np.full(ROWS, "same"), False),
        (np.full(ROWS, np.nan), False),
    ],
)
def test_a_column_that_predicts_a_binary_label_is_suspicious(values: np.ndarray, suspicious: bool) -> None:
    assert (label_check.predictive_power(values, LABEL, regression=False) >= label_check.LEAK_THRESHOLD) == suspicious


def test_predictive_power_for_several_classes() -> None:
    label = RNG.choice(["a", "b", "c"], ROWS)
    assert label_check.predictive_power(np.char.add(label, "!"), label, regression=False) == pytest.approx(1)
    assert label_check.predictive_power(RNG.choice(["x", "y"], ROWS), label, regression=False) == pytest.approx(
        0.5, abs=0.05
    )


def test_predictive_power_for_a_number() -> None:
    price = RNG.normal(100, 20, ROWS)
    assert label_check.predictive_power(price * 1.1, price, regression=True) >= 0.97
    assert label_check.predictive_power(RNG.normal(0, 1, ROWS), price, regression=True) < 0.1


def test_a_label_with_one_class_cannot_be_predicted() -> None:
    assert label_check.predictive_power(LATE * 1.0, np.full(ROWS, "no"), regression=False) == 0.5


def test_a_warning_names_column_and_figure_and_asks_the_question() -> None:
    report = {"columns": {"delay": 0.9991, "hour": 0.6}, "suspicious": ["delay"], "severity": "warn"}
    (warning,) = label_check.leak_warnings(report)
    assert warning == "column 'delay' alone predicts the label (0.9991 of 1): is it known before the label?"
    assert label_check.leak_warnings({**report, "severity": "ignore"}) == []


@pytest.mark.parametrize(
    ("label", "regression", "message"),
    [
        (np.array([]), False, "no row of train has a label; expected at least two"),
        (np.array(["a", "a"]), False, "all 2 rows of train have the same class, a"),
        (
            np.arange(100).astype(str),
            False,
            "100 classes in 100 rows of train, such as 0; expected classes that appear more than once",
        ),
        (np.array([1.5, 1.5]), True, "all 2 rows of train have the same number, 1.5"),
    ],
)
def test_a_label_that_cannot_be_learned_is_refused(label, regression: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_check.check_classes("late", label, regression)


def test_a_regression_needs_numbers() -> None:
    label_check.check_numbers("price", np.array([1.5, np.nan]))
    with pytest.raises(DataError, match=r"problem is regression, but the label is text in the schema, such as '1,200'"):
        label_check.check_numbers("price", np.array(["12", "", "1,200"]))


def test_rows_without_a_label_are_counted() -> None:
    assert list(label_check.has_label(np.array(["a", "", "b"]))) == [True, False, True]
    assert list(label_check.has_label(np.array([1.0, np.nan]))) == [True, False]
    (warning,) = label_check.unlabelled_warnings({"label": "late", "rows": 200, "unlabelled": 5})
    assert warning == "label 'late' is missing in 5 of 200 rows of train (2.5%); these rows are skipped"


def test_of_many_classes_only_the_most_frequent_ones_are_distinguished() -> None:
    label = RNG.integers(0, 2000, 10_000).astype(str)
    assert label_check.predictive_power(label, label, regression=False) == pytest.approx(1, abs=0.01)
    assert label_check.predictive_power(RNG.permutation(label), label, regression=False) == pytest.approx(0.5, abs=0.05)
