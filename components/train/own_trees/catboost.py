"""CatBoost's models: symmetric trees, which are served as Benison's own, and others, which are walked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.own_trees import forest, walk
from benison.components.train.own_trees.forest import LEAF, Forest, LeftSet, Missing, Nodes
from benison.components.train.own_trees.reading import ModelColumns, ReadModel, is_from, refuse_classes
from benison.components.train.own_trees.rows import OwnRows
from benison.components.train.trees import in_graph, symmetric
from benison.serving.errors import UsageError

_LINKS = {
    **dict.fromkeys(("Logloss", "CrossEntropy"), "sigmoid"),
    "MultiClass": "softmax",
    **dict.fromkeys(
        ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "Expectile", "LogCosh", "Lq", "LogLinQuantile"), "identity"
    ),
    **dict.fromkeys(("Poisson", "Tweedie"), "exp"),
}
_BY_ROUNDS = ("leaf_estimation_iterations", "learning_rate")  # CatBoost chooses these by `iterations`


def reads(model: Any) -> bool:
    """Return True if this module reads such a model."""
    return is_from(model, "catboost")


def read(model: Any, rows: OwnRows) -> ReadModel:
    """Read a fitted model.

    Raises:
        UsageError: it cannot be served as it is.
    """
    import catboost

    refuse_classes(model, rows.classes)
    used = model.get_all_params()
    loss = str(used.get("loss_function", "")).partition(":")[0]
    if loss not in _LINKS:
        raise UsageError(
            f"the loss of the CatBoost model is {loss!r}, expected one of {', '.join(_LINKS)}, since a served model "
            "must know its answer"
        )
    columns = ModelColumns.of(model.feature_names_, len(model.feature_names_), rows)
    categories = list(model.get_cat_feature_indices())
    for number in categories:
        columns.category(number, "CatBoost")
    numbers = [number for number in range(len(columns.places)) if number not in categories]
    table: Any = rows.features.iloc[:, columns.places]
    pool = (
        catboost.Pool(table.drop_duplicates(subset=table.columns[categories]), cat_features=categories)
        if categories
        else None
    )
    stored = symmetric.stored(model, pool)
    _refuse_statistics(stored)
    places = columns.places[numbers], columns.places[categories]
    link = _LINKS[loss]
    if "oblivious_trees" in stored:
        trees = symmetric.from_json(stored)
        count, depth, answers = len(trees.picks), trees.picks.shape[1], _symmetric(trees, *places, link)
    else:
        walked = _forest(stored, *places, link)
        count, depth, answers = walked.trees, walk.depth_of(walked), walk.function(walked)
    return ReadModel(
        answers=answers,
        predict=lambda given: _predict(model, given.iloc[:, columns.places], categories, link),
        rounds=max(1, int(model.tree_count_)),
        trees=count,
        depth=depth,
        symmetric="oblivious_trees" in stored,
        importances=columns.spread(model.get_feature_importance()),
        chosen={name: used[name] for name in _BY_ROUNDS if name in used and name not in model.get_params()},
    )


def _predict(model: Any, table: Any, categories: list[int], link: str) -> NDArray:
    import catboost

    kind = {"identity": "RawFormulaVal", "exp": "Exponent"}.get(link, "Probability")
    answers = model.predict(catboost.Pool(table, cat_features=categories), prediction_type=kind)
    return np.asarray(answers, np.float64).reshape(len(table), -1)


def _refuse_statistics(stored: Mapping[str, Any]) -> None:
    """Refuse conditions on CatBoost's own statistics of categories, whose tables are no TensorFlow operations."""
    if stored.get("ctr_data") or stored.get("features_info", {}).get("ctrs"):
        raise UsageError(
            "the CatBoost model uses statistics of categories (CTR), which cannot be served; set one_hot_max_size to "
            "the largest number of values, such as 255, and leave categories with more values out of cat_features"
        )


def _symmetric(trees: symmetric.SymmetricTrees, numbers: NDArray, categories: NDArray, link: str) -> Any:
    """Return the function of symmetric trees, from the columns of all features."""
    import tensorflow as tf

    answers, transform = in_graph.function(trees), walk.LINKS[link]
    of_numbers, of_ids = tf.constant(numbers, tf.int32), tf.constant(categories, tf.int32)

    def function(columns: Any) -> Any:
        ids = tf.cast(tf.gather(columns, of_ids, axis=1), tf.int64)
        return transform(answers(tf.gather(columns, of_numbers, axis=1), ids))

    return function


def _forest(stored: Mapping[str, Any], numbers: NDArray, categories: NDArray, link: str) -> Forest:
    nan_is_right, ids = symmetric.treatments(stored), symmetric.ids_by_hash(stored)
    scale, bias = stored["scale_and_bias"]
    sets: list[LeftSet] = []
    return Forest.of(
        [
            _nodes(tree, numbers, categories, nan_is_right, ids, sets, len(np.atleast_1d(bias)))
            for tree in stored["trees"]
        ],
        np.atleast_1d(np.asarray(bias, np.float64)),
        link,
        sets=sets,
        scale=float(scale),
    )


def _nodes(
    root: Mapping[str, Any],
    numbers: NDArray,
    categories: NDArray,
    nan_is_right: Mapping[int, bool],
    ids: Mapping[int, int],
    sets: list[LeftSet],
    outputs: int,
) -> Nodes:
    """Return the nodes of a tree; a row goes right if its number is greater than the border, or its id is the same."""
    queue = [root]
    left: list[int] = []
    for node in queue:  # it grows
        left.append(len(queue) if "split" in node else 0)
        queue += [node["left"], node["right"]] if "split" in node else []
    columns, missing = np.full(len(queue), LEAF), np.zeros(len(queue), np.int8)
    borders, own = np.zeros(len(queue)), np.full(len(queue), -1)
    values = np.zeros((len(queue), outputs))
    for number, node in enumerate(queue):
        split = node.get("split")
        if split is None:
            values[number] = node["value"]
        elif split["split_type"] == "FloatFeature":
            columns[number], borders[number] = numbers[split["float_feature_index"]], split["border"]
            missing[number] = Missing.RIGHT if nan_is_right[split["float_feature_index"]] else Missing.LEFT
        else:
            columns[number], own[number] = categories[split["cat_feature_index"]], len(sets)
            sets.append(LeftSet(frozenset([ids[split["value"] % 2**32]]), others=True))
    first = np.array(left)
    return Nodes.of(columns, forest.sort_keys(borders), missing, first, first + 1, values, own)
