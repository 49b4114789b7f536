"""Keys that are valid alone but contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from benison.pipelines.config.contradictions import contradictions

SOUND: dict[str, Any] = {
    "problem": "binary",
    "label": "late",
    "data": {"csv": "flights.csv"},
    "ensemble": {"members": {"linear": {}, "deep": {}}},
}
COST = {"false_negative": 10, "false_positive": 1}


def reported(**changes: Any) -> list[tuple[str, str]]:
    return [(".".join(map(str, found["loc"])), str(found["type"])) for found in contradictions({**SOUND, **changes})]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cost": COST},
        {"cost": COST, "metric": "cost", "blessing": {"rules": [{"metric": "cost", "max": 1}]}},
        {"ensemble": {"members": {"linear": {"imbalance": "class_weight"}, "deep": {"imbalance": "undersample"}}}},
        {"problem": "multiclass", "ensemble": {"members": {"linear": {"imbalance": "undersample"}}}},
        {"problem": "regression", "ensemble": {"members": {"linear": {"imbalance": "none"}}}},
        {"problem": "bynary", "cost": COST},  # only the wrong problem is reported, not the cost
    ],
)
def test_valid_combinations_are_accepted(changes: dict[str, Any]) -> None:
    assert reported(**changes) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"metric": "cost"},
            ("metric", "needs the top-level key cost, such as {false_negative: 10, false_positive: 1}"),
        ),
        (
            {"blessing": {"rules": [{"metric": "auc", "min": 0.7}, {"metric": "cost", "max": 1}]}},
            (
                "blessing.rules.1.metric",
                "needs the top-level key cost, such as {false_negative: 10, false_positive: 1}",
            ),
        ),
        *(
            (
                {"ensemble": {"members": {"deep": {"hyperparameters": {"learning_rate": rate}}}}},
                ("ensemble.members.deep.hyperparameters.learning_rate", f"got {rate!r}, expected a number > 0"),
            )
            for rate in (-0.01, 0, "fast", True, float("inf"))
        ),
        *(
            (
                {"ensemble": {"members": {"deep": {"tuner": {"space": {"learning_rate": rates}}}}}},
                ("ensemble.members.deep.tuner.space.learning_rate", "got -1, expected numbers > 0"),
            )
            for rates in ([0.1, -1], {"min": -1, "max": 1})
        ),
        *(
            ({"ensemble": {"members": {"deep": member}}}, (f"ensemble.members.deep.{key}", message))
            for member, key, message in (
                (
                    {"tuner": {"trials": 3}},
                    "tuner.space",
                    "expected at least one hyperparameter with its values, such as space: {units: [16, 32]}",
                ),
                (
                    {"tuner": {"space": {"units": [1, 2]}, "arguments": {"size": 3}}},
                    "tuner.arguments",
                    "these are the arguments of tuner.class, which is missing",
                ),
                (
                    {"tuner": {"class": "mine.py:Deep", "algorithm": "hyperband"}},
                    "tuner.algorithm",
                    "got 'hyperband', whose trials train for epochs that a class of your own does not know; expected "
                    "random, grid, bayesian",
                ),
                (
                    {"tuner": {"space": {"units": [1, 2]}, "profile": [5, 2]}},
                    "tuner.profile",
                    "got [5, 2], expected the first batch and a later one",
                ),
                (
                    {"tuner": {"space": {"batch_size": [16, 0]}}},
                    "tuner.space.batch_size",
                    "got 0, expected numbers of rows, such as [16, 32]",
                ),
                (
                    {"kind": "trees", "tuner": {"space": {"depth": [3, 4]}, "profile": [2, 5]}},
                    "tuner.profile",
                    "got [2, 5], but only a member of kind keras has one",
                ),
                (
                    {"kind": "trees", "trainer": {"distribute": 2}},
                    "trainer.distribute",
                    "got 2, but only a member of kind keras is trained in several processes",
                ),
            )
        ),
        (
            {"blessing": {"rules": [{"metric": "auc", "min": 75}]}},
            ("blessing.rules.0.min", "got 75, but auc is 0 to 1"),
        ),
        (
            {"problem": "regression", "blessing": {"rules": [{"metric": "rmse", "max": -1}]}},
            ("blessing.rules.0.max", "got -1, but rmse is 0 or more"),
        ),
        (
            {"problem": "regression", "blessing": {"rules": [{"metric": "r2", "min": 75}]}},
            ("blessing.rules.0.min", "got 75, but r2 is 1 or less"),
        ),
        (
            {"blessing": {"rules": [{"metric": "auc", "not_worse_than": "served", "by": 5}]}},
            ("blessing.rules.0.by", "got 5, but auc is 0 to 1, so the rule would always hold"),
        ),
        (
            {"problem": "multiclass", "cost": COST},
            ("cost", "got costs for a multiclass problem; only binary problems have costs"),
        ),
        (
            {"threshold": 0.3, "cost": COST},
            ("threshold", "the key cost gives a threshold too, at the lowest expected cost; keep one of the two"),
        ),
        (
            {"problem": "multiclass", "threshold": 0.3},
            ("threshold", "got a threshold for a multiclass problem; only binary problems have one"),
        ),
        (
            {"problem": "multiclass", "positive": "yes"},
            ("positive", "got a positive class for a multiclass problem; only binary problems have one"),
        ),
        (
            {"problem": "regression", "ensemble": {"members": {"linear": {"imbalance": "class_weight"}}}},
            ("ensemble.members.linear.imbalance", "got 'class_weight', but a regression problem has no classes"),
        ),
        (
            {"problem": "regression", "ensemble": {"members": {"linear": {}, "deep": {"imbalance": "undersample"}}}},
            ("ensemble.members.deep.imbalance", "got 'undersample', but a regression problem has no classes"),
        ),
    ],
)
def test_contradictions_are_reported_at_their_key(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert reported(**changes) == [expected]


def test_a_metric_that_costs_does_not_fit_more_than_two_classes() -> None:
    ((key, message),) = reported(problem="multiclass", metric="cost", cost=None)
    assert key == "metric"
    assert message.startswith("got 'cost', expected one of accuracy, auc")
