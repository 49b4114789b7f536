"""scikit-learn's trees: decision trees, forests, gradient boosting and histogram-based gradient boosting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.own_trees import forest
from benison.components.train.own_trees.forest import LEAF, Forest, LeftSet, Missing, Nodes
from benison.components.train.own_trees.reading import ModelColumns, ReadModel, own_answers, refuse_classes
from benison.components.train.own_trees.rows import OwnRows
from benison.serving.errors import UsageError

_HISTOGRAM_LINKS = {"squared_error": "identity", "absolute_error": "identity", "quantile": "identity"}
_HISTOGRAM_LINKS |= {"poisson": "exp", "gamma": "exp"}


def reads(model: Any) -> bool:
    """Return True if this module reads such a model."""
    return _kind(model) is not None


def read(model: Any, rows: OwnRows) -> ReadModel:
    """Read a fitted model.

    Raises:
        UsageError: it cannot be served as it is.
    """
    classifier = hasattr(model, "predict_proba")
    if rows.problem == "regression" and classifier:
        raise UsageError(f"returned a {type(model).__name__} for a regression, expected a regressor")
    if rows.problem != "regression" and not classifier:
        raise UsageError(f"returned a {type(model).__name__} for a {rows.problem} problem, expected a classifier")
    if getattr(model, "n_outputs_", 1) != 1:
        raise UsageError(f"the {type(model).__name__} has {model.n_outputs_} outputs, expected one")
    refuse_classes(model, rows.classes)
    columns = ModelColumns.of(getattr(model, "feature_names_in_", None), model.n_features_in_, rows)
    kind = _kind(model)
    if kind == "histogram":
        trees, rounds, importances = _histogram(model, columns)
    elif kind == "boosting":
        trees, rounds = _boosting(model, columns), int(model.n_estimators_)
        importances = model.feature_importances_
    else:
        estimators = [model] if kind == "tree" else model.estimators_
        trees, rounds, importances = _mean(estimators, columns, classifier), len(estimators), model.feature_importances_
    return ReadModel.walked(
        trees, lambda table: _predict(model, table.iloc[:, columns.places]), rounds, columns.spread(importances)
    )


def _kind(model: Any) -> str | None:
    names = {base.__name__ for base in type(model).__mro__ if base.__module__.startswith("sklearn.")}
    kinds = {
        "BaseDecisionTree": "tree",
        "ForestClassifier": "forest",
        "ForestRegressor": "forest",
        "BaseGradientBoosting": "boosting",
        "BaseHistGradientBoosting": "histogram",
    }
    return next((kind for name, kind in kinds.items() if name in names), None)


def _predict(model: Any, table: Any) -> NDArray:
    return own_answers(model, table if hasattr(model, "feature_names_in_") else table.to_numpy())


def _nodes(tree: Any, columns: ModelColumns, values: NDArray) -> Nodes:
    """Return the nodes of scikit-learn's `tree_`, which compares float32 numbers with float64 thresholds."""
    is_leaf = tree.children_left == -1
    # Before version 1.3 there was no way for NaN, and no comparison with NaN is true.
    left = getattr(tree, "missing_go_to_left", np.zeros(len(is_leaf), bool)).astype(bool)
    return Nodes.of(
        np.where(is_leaf, LEAF, columns.places[np.where(is_leaf, 0, tree.feature)]),
        forest.at_most(tree.threshold),
        np.where(left, Missing.LEFT, Missing.RIGHT),
        tree.children_left,
        tree.children_right,
        values,
    )


def _mean(estimators: Any, columns: ModelColumns, classifier: bool) -> Forest:
    """Read trees whose answers are averaged."""
    trees = []
    for estimator in estimators:
        values = estimator.tree_.value[:, 0, :]
        if classifier:  # counts before version 1.3, and shares since then
            values = values / values.sum(axis=1, keepdims=True)
        trees.append(_nodes(estimator.tree_, columns, values))
    return Forest.of(trees, np.zeros(trees[0].values.shape[1]), "identity", scale=1 / len(trees))


def _boosting(model: Any, columns: ModelColumns) -> Forest:
    """Read GradientBoosting; its answer before the first tree must be the same for each row."""
    if getattr(model, "init_", "zero") != "zero" and not type(model.init_).__name__.startswith("Dummy"):
        raise UsageError(
            f"the {type(model).__name__} begins with the answers of a {type(model.init_).__name__}, expected init=None "
            "or 'zero'"
        )
    first = np.nan_to_num(columns.rows.features.iloc[:1, columns.places].to_numpy(np.float32))
    each = [estimator for stage in model.estimators_ for estimator in stage]
    outputs = model.estimators_.shape[1]
    sums = np.array([estimator.predict(first)[0] for estimator in each]).reshape(-1, outputs).sum(axis=0)
    raw = model.decision_function if hasattr(model, "decision_function") else model.predict
    table = columns.rows.features.iloc[:1, columns.places].fillna(0)
    start = np.ravel(raw(table if hasattr(model, "feature_names_in_") else first)) - model.learning_rate * sums
    trees = [_nodes(estimator.tree_, columns, estimator.tree_.value[:, 0, 0]) for estimator in each]
    factor = 2.0 if getattr(model, "loss", "") == "exponential" else 1.0
    link = "identity" if not hasattr(model, "predict_proba") else "sigmoid" if outputs == 1 else "softmax"
    return Forest.of(
        trees,
        start * factor,
        link,
        outputs=[number % outputs for number in range(len(each))],
        scale=model.learning_rate * factor,
    )


def _histogram(model: Any, columns: ModelColumns) -> tuple[Forest, int, NDArray]:
    """Read HistGradientBoosting; it puts the columns of categories first, and numbers their values."""
    places = columns
    known: dict[int, list[int]] = {}
    order = np.arange(len(columns.places))
    encoder = getattr(model, "_preprocessor", None)
    if getattr(model, "is_categorical_", None) is not None:
        if encoder is None:
            raise UsageError("categories of HistGradientBoosting need scikit-learn 1.4 or newer")
        is_category = np.asarray(model.is_categorical_, bool)
        order = np.concatenate([np.flatnonzero(is_category), np.flatnonzero(~is_category)])
        places = ModelColumns(columns.places[order], columns.rows)
        for number, values in enumerate(encoder.named_transformers_["encoder"].categories_):
            places.category(number, type(model).__name__)
            known[number] = [int(value) for value in values]
    outputs = len(model._predictors[0])
    sets: list[LeftSet] = []
    trees: list[Nodes] = []
    importances = np.zeros(len(columns.places))
    for predictor in (predictor for stage in model._predictors for predictor in stage):
        nodes = predictor.nodes
        is_leaf = nodes["is_leaf"].astype(bool)
        own = np.full(len(nodes), -1)
        for number in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
            bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][number]]
            codes = known[int(nodes["feature_idx"][number])]
            left = {codes[c] for c in range(len(codes)) if bits[c // 32] >> np.uint32(c % 32) & np.uint32(1)}
            others = bool(nodes["missing_go_to_left"][number])
            differ = set(codes) - left if others else left
            own[number] = len(sets)
            sets.append(LeftSet(frozenset(differ), others))
        feature = np.where(is_leaf, 0, nodes["feature_idx"]).astype(int)
        np.add.at(importances, feature[~is_leaf], nodes["gain"][~is_leaf])
        trees.append(
            Nodes.of(
                np.where(is_leaf, LEAF, places.places[feature]),
                forest.at_most(nodes["num_threshold"]),
                np.where(nodes["missing_go_to_left"].astype(bool), Missing.LEFT, Missing.RIGHT),
                nodes["left"],
                nodes["right"],
                nodes["value"],
                own,
            )
        )
    if hasattr(model, "predict_proba"):
        link = "sigmoid" if outputs == 1 else "softmax"
    elif model.loss in _HISTOGRAM_LINKS:
        link = _HISTOGRAM_LINKS[model.loss]
    else:
        raise UsageError(
            f"the loss {model.loss!r} of {type(model).__name__} is not known; expected one of "
            f"{', '.join(_HISTOGRAM_LINKS)}"
        )
    of_output = [number % outputs for number in range(len(trees))]
    bias = np.ravel(model._baseline_prediction)
    return (
        Forest.of(trees, bias, link, outputs=of_output, sets=sets),
        int(model.n_iter_),
        importances[np.argsort(order)],
    )
