"""Members of the kinds `trees` and `linear` in the YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benison.components.train.trees.settings import PATIENCE
from benison.pipelines.config import Pipeline
from benison.pipelines.generic.columns import TREE_FEATURES


def pipeline(**member: Any) -> Pipeline:
    raw = {
        "source": Path("t.yaml"),
        "name": "t",
        "problem": "regression",
        "label": "y",
        "data": {"csv": "t.csv"},
        "columns": {"a": "number"},
        "ensemble": {"members": {"linear": {}, "boosted": {"kind": "trees", **member}}},
    }
    return Pipeline.model_validate(raw)


def test_trees_need_no_function_and_are_written_and_read_again():
    config = pipeline(hyperparameters={"trees": 300})
    assert config.ensemble.members["boosted"].patience == PATIENCE
    assert config.references["trees"] == TREE_FEATURES
    assert Pipeline.model_validate(config.model_dump(mode="json")) == config


def test_a_pipeline_without_trees_computes_no_features_for_them():
    config = pipeline()
    only = config.ensemble.model_copy(update={"members": {"linear": config.ensemble.members["linear"]}})
    assert "trees" not in config.model_copy(update={"ensemble": only}).references


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"epochs": 3}, "got 3, but trees have no epochs"),
        (
            {"hyperparameters": {"tree": 3}},
            r"trees have no such hyperparameter; did you mean 'trees'\?; expected some of",
        ),
        ({"hyperparameters": {"trees": 0}}, "got 0, expected a whole number from 1 to 10000"),
        ({"hyperparameters": {"depth": 6.5}}, "got 6.5, expected a whole number from 1 to 10"),
        ({"hyperparameters": {"learning_rate": 0}}, "got 0, expected a number from 1e-06 to 1"),
        ({"tuner": {"space": {"depht": [3, 4]}}}, r"trees have no such hyperparameter; did you mean 'depth'\?"),
        ({"tuner": {"space": {"depth": [4, 11]}}}, "got 11, expected a whole number from 1 to 10"),
        (
            {"tuner": {"space": {"trees": {"min": 10.0, "max": 50}}}},
            "got 10.0, expected a whole number from 1 to 10000",
        ),
        (
            {"tuner": {"space": {"learning_rate": {"min": 0.0, "max": 0.1}}}},
            "got 0.0, expected a number from 1e-06 to 1",
        ),
        (
            {"tuner": {"space": {"l2": [1, 3]}, "algorithm": "hyperband"}},
            "trees have none; expected random, grid, bayesian",
        ),
        ({"tuner": {"space": {"l2": [1, 3]}, "epochs": 3}}, "got 3, but trees have no epochs"),
        (
            {"tuner": {"space": {"l2": [1, 3]}}, "hyperparameters": {"l2": 3}},
            "also fixes this value; keep one of the two",
        ),
        ({"imbalance": "class_weight"}, "got 'class_weight', but a regression problem has no classes"),
    ],
)
def test_settings_that_trees_do_not_have_are_refused(member, message):
    with pytest.raises(ValidationError, match=message):
        pipeline(**member)


def test_trees_of_the_users_function_have_any_hyperparameters(tmp_path):
    config = pipeline(function="models.py:boosting", hyperparameters={"leaves": 31})
    assert config.references["ensemble.members.boosted"] == f"{Path('models.py').absolute()}:boosting"
    assert config.references["trees"] == TREE_FEATURES
    assert config.ensemble.members["boosted"].patience == PATIENCE
    assert Pipeline.model_validate(config.model_dump(mode="json")) == config
    with pytest.raises(ValidationError, match="got 3, but trees have no epochs"):
        pipeline(function="models.py:boosting", epochs=3)


@pytest.mark.parametrize("function", ["", "models.py:boosting"])
def test_hyperparameters_of_trees_can_be_searched(function):
    space = {"leaves": [7, 31]} if function else {"depth": {"min": 3, "max": 8}, "learning_rate": [0.03, 0.1]}
    own = {"function": function} if function else {}
    config = pipeline(tuner={"space": space, "trials": 4, "algorithm": "bayesian"}, **own)
    assert config.ensemble.members["boosted"].tuner.trials == 4
    assert Pipeline.model_validate(config.model_dump(mode="json")) == config


def test_a_linear_member_needs_no_function():
    config = pipeline(kind="linear", hyperparameters={"l2": 0})
    assert "trees" not in config.references
    assert Pipeline.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"epochs": 3}, "got 3, but linear has no epochs"),
        ({"patience": 3}, "got 3, but linear has no patience"),
        ({"function": "deep"}, "got 'deep', but linear has no function; expected kind: keras"),
        ({"hyperparameters": {"learning_rate": 1}}, "linear has no such hyperparameter; expected l2"),
        ({"hyperparameters": {"l2": -1}}, "got -1, expected a number from 0 to 1e\\+09"),
        ({"tuner": {"algorithm": "hyperband", "space": {"l2": [1, 3]}}}, "but linear has none; expected random"),
    ],
)
def test_a_setting_that_a_linear_member_does_not_have_is_refused(member, message):
    with pytest.raises(ValidationError, match=message):
        pipeline(kind="linear", **member)
