"""Rows with equal features are events if most rows have an equal one and their labels differ; else they are copies."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benison.components.equal_rows import events, occurrences

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
    ("features", "labels", "expected"),
    [
        pytest.param(COMBINATIONS, drawn(COMBINATIONS), 1.0, id="a few categories"),
        pytest.param(COMBINATIONS, RANDOM.normal(size=ROWS), 1.0, id="a few categories and a number as label"),
        pytest.param(COMBINATIONS, RANDOM.random(ROWS) < 0.01, 1.0, id="a rare class that no feature explains"),
        pytest.param(COMBINATIONS % 12, COMBINATIONS % 12 % 2, 1.0, id="so few rows that each is a part of the table"),
        pytest.param(DIFFERENT, drawn(COMBINATIONS), 0.0, id="different rows"),
        pytest.param(DIFFERENT // 2, DIFFERENT // 2 % 2, 0.0, id="every row twice"),
        pytest.param(DIFFERENT // 12, DIFFERENT // 12 % 2, 0.0, id="every row twelve times"),
        pytest.param(DIFFERENT // 12, DIFFERENT // 12 * 0.37, 0.0, id="every row twelve times, with a number"),
        pytest.param(DIFFERENT // 2, mostly(DIFFERENT // 2 % 2, 0.03), 0.0, id="twice, with labels that changed"),
        pytest.param(COMBINATIONS, COMBINATIONS % 2, 0.0, id="a label that follows from the features"),
        pytest.param(np.maximum(DIFFERENT, 500), drawn(COMBINATIONS), 501 / ROWS, id="many rows without any value"),
        pytest.param(np.maximum(DIFFERENT, 50), drawn(COMBINATIONS), 51 / ROWS, id="some rows without any value"),
        pytest.param(np.maximum(DIFFERENT, 10), drawn(COMBINATIONS), 0.0, id="a few equal rows"),
        pytest.param(DIFFERENT // 2 // 2 * 2 + DIFFERENT % 2, drawn(COMBINATIONS), 1.0, id="pairs whose labels differ"),
        pytest.param(np.zeros(ROWS), np.zeros(ROWS), 1.0, id="one row, again and again"),
        pytest.param(np.zeros(0), np.zeros(0), None, id="no row"),
        pytest.param(np.zeros(1), np.zeros(1), 0.0, id="one row"),
    ],
)
def test_events_have_different_labels_or_are_a_large_part(
    features: NDArray, labels: NDArray, expected: float | None
) -> None:
    order = RANDOM.permutation(len(features))
    found = events(features[order], labels[order])
    assert len(found) == len(features)
    if expected is not None:
        assert found.mean() == pytest.approx(expected)


def test_rows_without_a_label_go_with_those_that_equal_them() -> None:
    features, labels = np.repeat([1, 2, *range(100, 800)], [30, 30, *[1] * 700]), RANDOM.integers(0, 2, 760)
    labels[30:60] = 1
    labelled = RANDOM.random(760) < 0.9
    assert np.flatnonzero(events(features, labels, labelled)).tolist() == list(range(30))


def test_occurrences_count_the_equal_rows_before() -> None:
    assert occurrences(np.array([7, 3, 7, 7, 3, 1])).tolist() == [0, 0, 1, 2, 1, 0]
    assert occurrences(np.zeros(0)).tolist() == []
