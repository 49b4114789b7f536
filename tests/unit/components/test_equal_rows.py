"""Rows with equal features are events if most rows have an equal one and their labels differ; else they are copies."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benison.components.equal_rows import are_events, occurrences

ROWS = 1200
RANDOM = np.random.default_rng(0)
COMBINATIONS = RANDOM.integers(0, 40, ROWS)
CHANCES = RANDOM.beta(0.6, 0.6, 40)
DIFFERENT = np.arange(ROWS)


def drawn(units: NDArray) -> NDArray:
    """Return a label for each row by the chance of its combination."""
    return (RANDOM.random(len(units)) < CHANCES[units]).astype(int)


def mostly(labels: NDArray, share: float) -> NDArray:
    """Return the labels, with others in a share of the rows."""
    return np.where(RANDOM.random(len(labels)) < share, 1 - labels, labels)


@pytest.mark.parametrize(
    ("features", "labels", "events"),
    [
        pytest.param(COMBINATIONS, drawn(COMBINATIONS), True, id="a few categories"),
        pytest.param(COMBINATIONS, RANDOM.normal(size=ROWS), True, id="a few categories and a number as label"),
        pytest.param(COMBINATIONS, RANDOM.random(ROWS) < 0.01, True, id="a rare class that no feature explains"),
        pytest.param(DIFFERENT, drawn(COMBINATIONS), False, id="different rows"),
        pytest.param(DIFFERENT // 2, DIFFERENT // 2 % 2, False, id="every row twice"),
        pytest.param(DIFFERENT // 12, DIFFERENT // 12 % 2, False, id="every row twelve times"),
        pytest.param(DIFFERENT // 12, DIFFERENT // 12 * 0.37, False, id="every row twelve times, with a number"),
        pytest.param(DIFFERENT // 2, mostly(DIFFERENT // 2 % 2, 0.03), False, id="twice, with labels that changed"),
        pytest.param(COMBINATIONS, COMBINATIONS % 2, False, id="a label that follows from the features"),
        pytest.param(np.maximum(DIFFERENT, 500), drawn(COMBINATIONS), False, id="few equal rows"),
        pytest.param(np.zeros(ROWS), np.zeros(ROWS), False, id="one row, again and again"),
        pytest.param(np.zeros(0), np.zeros(0), False, id="no row"),
        pytest.param(np.zeros(1), np.zeros(1), False, id="one row"),
    ],
)
def test_events_differ_in_their_labels(features: NDArray, labels: NDArray, events: bool) -> None:
    order = RANDOM.permutation(len(features))
    assert are_events(features[order], labels[order]) is events


def test_occurrences_count_the_equal_rows_before() -> None:
    assert occurrences(np.array([7, 3, 7, 7, 3, 1])).tolist() == [0, 0, 1, 2, 1, 0]
    assert occurrences(np.zeros(0)).tolist() == []
