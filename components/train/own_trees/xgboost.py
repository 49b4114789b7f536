"""XGBoost's models: Booster, XGBClassifier, XGBRegressor and their forests, by their JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.own_trees import forest
from benison.components.train.own_trees.forest import LEAF, Forest, LeftSet, Missing, Nodes
from benison.components.train.own_trees.reading import ModelColumns, ReadModel, is_from, own_answers, refuse_classes
from benison.components.train.own_trees.rows import OwnRows
from benison.serving.errors import UsageError

_LINKS = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    "multi:softprob": "softmax",
    **dict.fromkeys(
        (
            "reg:squarederror",
            "reg:squaredlogerror",
            "reg:absoluteerror",
            "reg:pseudohubererror",
            "reg:quantileerror",
        ),
        "identity",
    ),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
}


def reads(model: Any) -> bool:
    """Return True if this module reads such a model."""
    return is_from(model, "xgboost")


def read(model: Any, rows: OwnRows) -> ReadModel:
    """Read a fitted model.

    Raises:
        UsageError: it cannot be served as it is.
    """
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    if not hasattr(booster, "save_raw"):
        raise UsageError(f"the {type(model).__name__} cannot be read; expected a Booster or an estimator of XGBoost")
    refuse_classes(model, rows.classes)
    if not np.isnan(missing := getattr(model, "missing", np.nan)):
        raise UsageError(
            f"the {type(model).__name__} takes {missing:g} for a missing number (missing={missing:g}); leave `missing` "
            "out, and write such marks in data.missing: in rows.features a missing number is NaN"
        )
    learner = json.loads(booster.save_raw("json"))["learner"]
    objective, boosted = learner["objective"]["name"], learner["gradient_booster"]
    link = "softmax" if objective == "multi:softmax" and booster is not model else _LINKS.get(objective)
    if link is None:
        raise UsageError(
            f"the objective of the XGBoost model is {objective!r}, expected one of {', '.join(_LINKS)}, since a served "
            "model must know its answer"
        )
    if boosted["name"] not in ("gbtree", "dart"):
        raise UsageError(f"the booster of the XGBoost model is {boosted['name']!r}, expected gbtree or dart")
    parts = boosted["gbtree"]["model"] if boosted["name"] == "dart" else boosted["model"]
    names = booster.feature_names
    columns = ModelColumns.of(names, int(learner["learner_model_param"]["num_feature"]), rows)
    used = len(parts["trees"])
    if int(learner["learner_model_param"].get("num_target") or 1) > 1:
        raise UsageError(
            "the XGBoost model has several targets, such as those of quantile_alpha; fit it for one: a prediction is "
            "one number per row"
        )
    outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    parallel = max(1, int(parts["gbtree_model_param"].get("num_parallel_tree") or 1))
    best = _best_round(model)
    if best is not None and model is not booster:  # `predict` of the estimators stops there, and that of a Booster not
        used = min(used, best * outputs * parallel)
    sets: list[LeftSet] = []
    drops = boosted.get("weight_drop") or parts.get("weight_drop") or [1.0] * used  # before XGBoost 3.4, and since then
    trees = Forest.of(
        [
            _nodes(tree, drop, columns, parts, sets)
            for tree, drop in zip(parts["trees"][:used], drops[:used], strict=True)
        ],
        _bias(learner["learner_model_param"]["base_score"], link, outputs),
        link,
        outputs=parts["tree_info"][:used],
        sets=sets,
    )
    gains = booster.get_score(importance_type="total_gain")
    own_names = names or [f"f{number}" for number in range(len(columns.places))]
    return ReadModel.walked(
        trees,
        lambda table: _predict(model, table.iloc[:, columns.places]),
        best or max(1, used // (outputs * parallel)),
        columns.spread([gains.get(name, 0.0) for name in own_names]),
    )


def _best_round(model: Any) -> int | None:
    """Return the number of rounds that early stopping found; None without early stopping."""
    try:
        return int(model.best_iteration) + 1
    except AttributeError:
        return None


def _predict(model: Any, table: Any) -> NDArray:
    import xgboost

    if hasattr(model, "get_booster"):
        return own_answers(model, table if model.get_booster().feature_names else table.to_numpy(np.float32))
    data = xgboost.DMatrix(
        table.to_numpy(np.float32), feature_names=model.feature_names, feature_types=model.feature_types
    )
    return np.asarray(model.predict(data), np.float64).reshape(len(table), -1)


def _bias(written: str, link: str, outputs: int) -> NDArray:
    """Return the answer before the first tree, before the link, of `base_score`: a number, or several in brackets."""
    score = np.array([float(part) for part in written.strip("[]").split(",")], np.float32).astype(np.float64)
    if link == "sigmoid":
        score = np.log(score / (1 - score))
    elif link == "exp":
        score = np.log(score)
    return np.broadcast_to(score, outputs).copy()


def _nodes(
    tree: Mapping[str, Any], drop: float, columns: ModelColumns, parts: Mapping[str, Any], sets: list[LeftSet]
) -> Nodes:
    """Return the nodes of a tree; a row goes left if `x < condition`, or if its id is not among those listed."""
    if int(tree["tree_param"].get("size_leaf_vector") or 1) > 1:
        raise UsageError("the XGBoost model has several values per leaf; use multi_strategy='one_output_per_tree'")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], np.float32)
    is_leaf = left == -1
    feature = np.where(is_leaf, 0, tree["split_indices"])
    own = np.full(len(left), -1)
    ids = np.array(tree.get("categories", []), np.int64)
    for node, first, count in zip(
        tree.get("categories_nodes", []),
        tree.get("categories_segments", []),
        tree.get("categories_sizes", []),
        strict=True,
    ):
        column = int(feature[node])
        columns.category(column, "XGBoost")
        _refuse_codes(parts, column)
        own[node] = len(sets)
        sets.append(LeftSet(frozenset(ids[first : first + count].tolist()), others=True))
    return Nodes.of(
        np.where(is_leaf, LEAF, columns.places[feature]),
        forest.below(np.where(is_leaf | (own >= 0), np.float32(0), conditions)),
        np.where(np.array(tree["default_left"], bool), Missing.LEFT, Missing.RIGHT),
        left,
        right,
        np.where(is_leaf, conditions.astype(np.float64) * drop, 0.0),
        own,
    )


def _refuse_codes(parts: Mapping[str, Any], column: int) -> None:
    """Refuse categories that are codes of pandas' dtype category: XGBoost would see the places of ids, not ids."""
    if "cats" not in parts:
        raise UsageError("conditions on categories need XGBoost 3.1 or newer; or leave enable_categorical out")
    encodings = parts["cats"].get("enc") or []
    if column < len(encodings) and encodings[column].get("values"):
        raise UsageError(
            "the XGBoost model was fitted on columns of pandas' dtype category; fit it on rows.features with "
            "enable_categorical=True and feature_types=['c' if name in rows.categories else 'q' for name in "
            "rows.features] instead, so that it has the ids themselves"
        )
