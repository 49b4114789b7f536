"""Tests of the comparison of serving paths."""

from __future__ import annotations

import numpy as np
import pytest

from benison.serving.path_parity import compare

ANSWERS = np.array([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("answers", "agrees", "row"),
    [
        (ANSWERS, True, 0),
        (ANSWERS + 5e-6, True, None),
        (ANSWERS + np.array([[0, 0], [2e-5, 0], [0, 0]]), False, 1),
        (ANSWERS[:2], False, 0),
        (np.where(ANSWERS == 0.5, np.nan, ANSWERS), False, 1),
    ],
)
def test_answers_agree_within_a_hundred_thousandth_of_their_scale(answers, agrees, row):
    (path,) = compare(ANSWERS, {"fused": answers})
    assert path.agrees is agrees
    if row is not None:
        assert path.row == row


def test_the_scale_is_that_of_the_reference():
    large = np.array([[1e6], [2e6], [0.0]])
    assert compare(large, {"fused": large + 9})[0].agrees
    assert not compare(large, {"fused": large + 30})[0].agrees


def test_one_enormous_answer_does_not_hide_the_others():
    answers = np.array([[1.0], [2.0], [1e30]])
    assert not compare(answers, {"fused": answers + 1e-3})[0].agrees


def test_a_row_that_overflows_agrees_with_one_that_overflows_too_and_with_no_other():
    odd = np.array([[np.nan, 0.7], [np.inf, 1.0], [0.5, 0.5]])
    assert compare(odd, {"fused": odd})[0].agrees
    assert compare(odd, {"fused": np.where(np.isfinite(odd), odd, np.nan)})[0].agrees
    assert not compare(odd, {"fused": np.where(np.isfinite(odd), odd, 0.0)})[0].agrees
    assert not compare(odd, {"fused": np.where(odd == 0.5, np.nan, odd)})[0].agrees


def test_the_description_names_path_row_and_difference():
    (path,) = compare(ANSWERS, {"fan-out": ANSWERS + np.array([[0], [0], [0.25]])})
    assert path.describe("the training path") == (
        "fan-out differs from the training path by 0.25 in row 2 of 3 (the tolerance is 1e-05 of the scale)"
    )
