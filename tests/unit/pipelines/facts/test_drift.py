"""Test the drift between the statistics of two runs."""

import pytest

from benison.pipelines.facts.drift import between
from benison.pipelines.facts.statistics import Column


def _number(*bins: tuple[float, float, float], missing: int = 0) -> Column:
    low, high, rows = bins[0][0], bins[-1][1], int(sum(rows for _, _, rows in bins))
    return Column("x", "number", rows + missing, missing, mean=(low + high) / 2, low=low, high=high, bins=bins)


def _text(*values: tuple[str, float], others: int = 0) -> Column:
    rows = int(sum(rows for _, rows in values)) + others
    return Column("x", "text", rows, 0, unique=len(values) + bool(others), values=values)


@pytest.mark.parametrize(
    ("before", "now", "distance"),
    [
        (_number((0, 10, 50)), _number((0, 5, 10), (5, 10, 10)), 0.0),
        (_number((0, 10, 50)), _number((10, 20, 50)), 1.0),
        (_number((0, 2, 50)), _number((1, 3, 80)), 0.5),
        (_number((3, 3, 50)), _number((3, 3, 10)), 0.0),
        (_number((0, 1, 50), missing=50), _number((1, 2, 50), missing=50), 0.5),
        (_text(("a", 9), ("b", 1)), _text(("b", 10), ("a", 90)), 0.0),
        (_text(("a", 9)), _text(("b", 10)), 1.0),
        (_text(("a", 5), ("b", 5)), _text(("b", 5), ("c", 5)), 0.5),
        (_text(("a", 5), others=5), _text(("a", 5), ("b", 5)), 0.0),
    ],
)
def test_the_distance_is_the_jensen_shannon_divergence_in_bits(before: Column, now: Column, distance: float) -> None:
    (found,) = between({"train": {"x": before}}, {"train": {"x": now}}, 0.1)
    assert found.distance == pytest.approx(distance, abs=1e-9)
    assert found.drifted == (distance > 0.1)


def test_all_splits_count_together_and_columns_of_another_kind_do_not() -> None:
    before = {"train": {"x": _number((0, 1, 30))}, "test": {"x": _number((1, 2, 30))}}
    (found,) = between(before, {"train": {"x": _number((0, 2, 5))}}, 0.1)
    assert found.distance == pytest.approx(0.0)
    assert found.before == "mean 1, 0 to 2"
    assert between(before, {"train": {"x": _text(("a", 9))}}, 0.1) == []
    assert between(before, {"train": {"y": _number((0, 1, 1))}}, 0.1) == []
