"""A column is worth the metric that is lost when it is shuffled, and the work is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.evaluate import column_permutation
from benison.components.evaluate.column_permutation import Plan, measure
from benison.components.evaluate.metrics import METRICS


def measured(rows=600, columns=4, *, weights=None, metric="rmse", slow=None):
    """Measure a model that reads c0 fully and c1 a little, and a member that reads c1 only."""
    rng = np.random.default_rng(0)
    inputs = {f"c{i}": rng.normal(size=rows).astype(np.float32) for i in range(columns)}
    labels = (3 * inputs["c0"] + inputs["c1"] + rng.normal(size=rows)).reshape(-1, 1)
    calls = []

    def answer(of_rows):
        calls.append(len(of_rows["c0"]))
        if slow is not None:
            slow(len(calls))
        return {
            "ensemble": (3 * of_rows["c0"] + of_rows["c1"]).reshape(-1, 1),
            "member": of_rows["c1"].reshape(-1, 1),
        }

    order = list(inputs)
    found = measure(inputs, labels, weights, METRICS[metric], answer, Plan.of(rows, columns), order)
    return found, calls, inputs


def test_the_loss_is_the_one_of_shuffled_values_with_an_interval_around_it():
    found, _, _ = measured()
    losses = found.models["ensemble"]
    assert list(losses)[:2] == ["c0", "c1"]
    expected = np.sqrt(1 + 9 * 2) - 1  # the error of independent values has twice their variance
    assert losses["c0"].lost == pytest.approx(expected, rel=0.1)
    assert losses["c0"].low < losses["c0"].lost < losses["c0"].high
    assert losses["c1"].low > 0
    assert losses["c2"].lost == losses["c3"].lost == 0  # not read


def test_a_loss_above_0_means_that_the_column_helps_for_every_metric():
    for metric in ("rmse", "r2"):
        found, _, _ = measured(metric=metric)
        assert found.models["ensemble"]["c0"].lost > 0
        assert found.larger_is_better == (metric == "r2")
    assert found.models["member"]["c0"].lost == 0


def test_weights_count_in_losses_and_intervals():
    only_half = np.tile([1.0, 1e-9], 300)
    found, _, inputs = measured(weights=only_half)
    assert found.models["ensemble"]["c0"].lost != measured()[0].models["ensemble"]["c0"].lost
    assert found.models["ensemble"]["c0"].high > found.models["ensemble"]["c0"].low
    assert all(np.isfinite(values).all() for values in inputs.values())


def test_shuffled_copies_of_many_columns_are_answered_in_one_call():
    found, calls, _ = measured(rows=200, columns=4)
    assert found.repeats == 5
    assert calls == [200, 4 * 5 * 200]


@pytest.mark.parametrize(
    ("rows", "columns", "plan"),
    [
        (60, 7, Plan(60, 10, 7)),
        (2000, 20, Plan(1000, 1, 20)),
        (100_000, 40, Plan(1000, 1, 40)),
        (2000, 500, Plan(250, 1, 160)),
        (0, 3, Plan(0, 10, 3)),
    ],
)
def test_a_plan_bounds_the_answered_rows(rows, columns, plan):
    assert Plan.of(rows, columns) == plan
    assert plan.rows * plan.repeats * plan.columns <= 40_000


def test_columns_beyond_the_bound_are_named():
    found, _, _ = measured(rows=300, columns=400)
    assert len(found.models["ensemble"]) == 160
    assert list(found.not_measured) == [f"c{i}" for i in range(160, 400)]


def test_a_slow_model_is_not_asked_about_further_columns(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr("benison.components.evaluate.column_permutation.time.monotonic", lambda: next(clock))
    found, calls, _ = measured(rows=1000, columns=20)
    assert 0 < len(found.models["ensemble"]) < 20
    assert len(found.models["ensemble"]) + len(found.not_measured) == 20
    assert len(calls) < 6


def test_columns_are_ranked_by_the_importances_of_all_members():
    assert column_permutation.ranked(["a", "b", "c"], [{"b": 0.2, "c": 0.3}, {"b": 0.5}]) == ["b", "c", "a"]


def test_a_column_whose_shuffled_values_the_features_refuse_is_not_measured():
    rng = np.random.default_rng(0)
    start = rng.normal(size=200)
    inputs = {"start": start, "end": start + 1, "other": rng.normal(size=200)}

    def answer(rows):
        if (rows["start"] > rows["end"]).any():
            raise ValueError("start is after end")
        return {"ensemble": (rows["start"] + rows["other"])[:, None]}

    labels = (start + inputs["other"])[:, None]
    found = measure(
        inputs, labels, None, METRICS["rmse"], answer, Plan.of(200, 3), list(inputs), refusals=(ValueError,)
    )
    assert list(found.models["ensemble"]) == ["other"]
    assert list(found.not_measured) == ["start", "end"]
