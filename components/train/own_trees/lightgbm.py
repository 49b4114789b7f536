"""LightGBM's models: Booster, LGBMClassifier and LGBMRegressor, by `dump_model()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benison.components.train.own_trees import forest
from benison.components.train.own_trees.forest import LEAF, Forest, LeftSet, Missing, Nodes
from benison.components.train.own_trees.reading import ModelColumns, ReadModel, is_from, own_answers, refuse_classes
from benison.components.train.own_trees.rows import OwnRows
from benison.serving.errors import UsageError

_LINKS = {
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "multiclass": "softmax",
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
}

_ZERO = 1e-35  # kZeroThreshold: LightGBM takes such numbers for cells of a sparse row, before it compares them
_INFINITY = 1e300  # what `dump_model` writes for a condition that only asks whether there is a number


def reads(model: Any) -> bool:
    """Return True if this module reads such a model."""
    return is_from(model, "lightgbm")


def read(model: Any, rows: OwnRows) -> ReadModel:
    """Read a fitted model.

    Raises:
        UsageError: it cannot be served as it is.
    """
    booster = model if hasattr(model, "dump_model") else getattr(model, "booster_", None)
    if booster is None:
        raise UsageError(
            f"the {type(model).__name__} cannot be read; expected a Booster, LGBMClassifier or LGBMRegressor"
        )
    refuse_classes(model, rows.classes)
    dump = booster.dump_model()  # of the best iteration, as `predict`
    columns = ModelColumns.of(dump["feature_names"], len(dump["feature_names"]), rows)
    link, factor = _link(dump)
    if dump.get("pandas_categorical"):
        raise UsageError(
            "the LightGBM model was fitted on columns of pandas' dtype category; fit it on rows.features with "
            "categorical_feature=rows.categories instead, so that it has the ids themselves"
        )
    outputs = dump["num_tree_per_iteration"]
    rounds = len(dump["tree_info"]) // outputs
    sets: list[LeftSet] = []
    trees = Forest.of(
        [_nodes(tree["tree_structure"], columns, sets) for tree in dump["tree_info"]],
        np.zeros(outputs),
        link,
        outputs=[number % outputs for number in range(len(dump["tree_info"]))],
        sets=sets,
        zero=_ZERO,
        scale=factor / rounds if dump.get("average_output") else factor,
    )
    return ReadModel.walked(
        trees,
        lambda table: own_answers(model, table.iloc[:, columns.places]),
        rounds,
        columns.spread(booster.feature_importance(importance_type="gain")),
    )


def _link(dump: Mapping[str, Any]) -> tuple[str, float]:
    """Return the link of an objective such as `binary sigmoid:1`, and the factor of the sum in it."""
    objective, *settings = str(dump.get("objective", "none")).split()
    if objective not in _LINKS:
        raise UsageError(
            f"the objective of the LightGBM model is {objective!r}, expected one of {', '.join(_LINKS)}, since a "
            "served model must know its answer"
        )
    options = dict(setting.partition(":")[::2] for setting in settings)
    if "sqrt" in options:
        return "signed_square", 1.0
    return _LINKS[objective], float(options.get("sigmoid") or 1)


def _nodes(root: Mapping[str, Any], columns: ModelColumns, sets: list[LeftSet]) -> Nodes:
    nodes: list[Mapping[str, Any]] = []
    queue = [root]
    children: list[tuple[int, int]] = []
    for node in queue:  # it grows
        nodes.append(node)
        if "split_feature" in node:
            children.append((len(queue), len(queue) + 1))
            queue += [node["left_child"], node["right_child"]]
        else:
            children.append((0, 0))
    if any("leaf_coeff" in node for node in nodes):
        raise UsageError("the LightGBM model has linear leaves (linear_tree), which cannot be served; leave them out")
    places = np.full(len(nodes), LEAF)
    missing = np.zeros(len(nodes), np.int8)
    thresholds, own = np.zeros(len(nodes)), np.full(len(nodes), -1)
    for number, node in enumerate(nodes):
        if "split_feature" not in node:
            continue
        places[number] = columns.places[node["split_feature"]]
        missing[number] = _missing(node)
        if node["decision_type"] == "==":
            columns.category(node["split_feature"], "LightGBM")
            own[number] = len(sets)
            sets.append(LeftSet(frozenset(map(int, str(node["threshold"]).split("||")))))
        else:
            thresholds[number] = node["threshold"]
    thresholds[thresholds >= _INFINITY] = np.inf
    left, right = zip(*children, strict=True)
    values = [node.get("leaf_value", 0.0) for node in nodes]
    return Nodes.of(places, forest.at_most(thresholds), missing, left, right, values, own)


def _missing(node: Mapping[str, Any]) -> Missing:
    if node["missing_type"] == "NaN":
        return Missing.LEFT if node["default_left"] else Missing.RIGHT
    if node["missing_type"] == "Zero":
        return Missing.ZERO_LEFT if node["default_left"] else Missing.ZERO_RIGHT
    return Missing.ZERO
