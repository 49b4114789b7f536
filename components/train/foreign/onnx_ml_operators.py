"""The operators of ai.onnx.ml in TensorFlow, as skl2onnx and the converters of tree libraries write them.

See `onnx_operators` for the makers. The definitions are those of https://onnx.ai/onnx/operators (domain ai.onnx.ml).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.foreign.onnx_nodes import Node
from benison.components.train.own_trees import forest, walk
from benison.components.train.own_trees.forest import LEAF, Forest, Missing, Nodes
from benison.serving.errors import UsageError

Step = Callable[..., Any]


class _WithTables:
    """A step that reads tables, which the exported model must track."""

    def __init__(self, step: Step, *tables: Any) -> None:
        self._step = step
        self.tracked = tables

    def __call__(self, *values: Any) -> Any:
        return self._step(*values)


def _scaler(node: Node) -> Step:
    import tensorflow as tf

    offset, scale = (np.float32(node.take(name, [default])) for name, default in (("offset", 0.0), ("scale", 1.0)))
    return lambda x: (tf.cast(x, tf.float32) - offset) * scale


def _normalizer(node: Node) -> Step:
    import tensorflow as tf

    norm = node.expect("norm", "MAX", "L1", "L2")

    def step(x: Any) -> Any:
        x = tf.cast(x, tf.float64)  # the squares of large numbers are more than float32 has
        if norm == "MAX":
            sizes = tf.reduce_max(x, axis=-1, keepdims=True)
        elif norm == "L1":
            sizes = tf.reduce_sum(tf.abs(x), axis=-1, keepdims=True)
        else:
            sizes = tf.sqrt(tf.reduce_sum(x * x, axis=-1, keepdims=True))
        return tf.cast(tf.where(tf.equal(sizes, 0), x, x / sizes), tf.float32)

    return step


def _imputer(node: Node) -> Step:
    import tensorflow as tf

    floats, whole = node.take("imputed_value_floats"), node.take("imputed_value_int64s")
    replaced = node.take("replaced_value_float", 0.0), node.take("replaced_value_int64", 0)
    if not floats:
        values = np.array(whole, np.int64)
        return lambda x: tf.where(tf.equal(x, replaced[1]), values, x)
    filled = np.array(floats, np.float32)
    if replaced[0] != replaced[0]:
        return lambda x: tf.where(tf.math.is_nan(x), filled, x)
    return lambda x: tf.where(tf.equal(x, replaced[0]), filled, x)


def _one_hot(node: Node) -> Step:
    import tensorflow as tf

    texts, whole, zeros = node.take("cats_strings"), node.take("cats_int64s"), node.take("zeros", 1)
    categories = np.array(texts, object) if texts else np.array(whole, np.int64)
    if len(set(categories.tolist())) < len(categories):
        raise node.fault("a category is listed twice")

    def step(x: Any) -> Any:
        if (x.dtype == tf.string) != bool(texts):
            raise node.fault(f"its input is {x.dtype.name}, and its categories are {'text' if texts else 'numbers'}")
        values = x if texts else tf.cast(x, tf.int64)
        hits = tf.equal(tf.expand_dims(values, -1), tf.constant(categories.tolist(), values.dtype))
        known = [] if zeros else [tf.debugging.Assert(tf.reduce_all(tf.reduce_any(hits, -1)), ["an unknown category"])]
        with tf.control_dependencies([check for check in known if check is not None]):
            return tf.cast(hits, tf.float32)

    return step


def _label_encoder(node: Node) -> Step:
    import tensorflow as tf

    if node.opset < 2:
        raise node.fault("its first version is not converted")
    kinds = {"strings": tf.string, "int64s": tf.int64, "floats": tf.float32}
    keys = {kind: node.take(f"keys_{kind}") for kind in kinds}
    values = {kind: node.take(f"values_{kind}") for kind in kinds}
    defaults = {
        "strings": node.take("default_string", "_Unused"),
        "int64s": node.take("default_int64", -1),
        "floats": node.take("default_float", -0.0),
    }
    key, value = (next((kind for kind, own in each.items() if own), "") for each in (keys, values))
    if not key or not value:
        raise node.fault("it has no keys or no values")
    if key == "floats":
        raise node.fault("keys that are floats are not converted")
    if len(set(keys[key])) < len(keys[key]):
        raise node.fault("a key is listed twice")
    pairs = tf.lookup.KeyValueTensorInitializer(keys[key], values[value], kinds[key], kinds[value])
    table = tf.lookup.StaticHashTable(pairs, tf.constant(defaults[value], kinds[value]))
    return _WithTables(table.lookup, table)


def _linear_classifier(node: Node) -> Step:
    import tensorflow as tf

    classes = _classes(node)
    coefficients = np.array(node.take("coefficients"), np.float32).reshape(-1, 1)
    intercepts = np.array(node.take("intercepts", []), np.float32)
    link = node.expect("post_transform", "NONE", "SOFTMAX", "LOGISTIC")
    node.take("multi_class", 0)
    if len(intercepts) not in (0, classes) or coefficients.size % classes:
        raise node.fault(f"scores of {len(intercepts)} of {classes} classes are not converted")
    kernel = coefficients.reshape(classes, -1).T
    constant = intercepts if len(intercepts) else np.zeros(classes, np.float32)

    def step(x: Any) -> Any:
        scores = tf.matmul(tf.cast(x, tf.float32), kernel) + constant
        return tf.argmax(scores, axis=1), _linked(scores, link)

    return step


def _linear_regressor(node: Node) -> Step:
    import tensorflow as tf

    targets = node.take("targets", 1)
    kernel = np.array(node.take("coefficients"), np.float32).reshape(targets, -1).T
    constant = np.array(node.take("intercepts", [0.0] * targets), np.float32)
    node.expect("post_transform", "NONE")
    return lambda x: tf.matmul(tf.cast(x, tf.float32), kernel) + constant


def _linked(scores: Any, link: str) -> Any:
    import tensorflow as tf

    functions = {"NONE": lambda values: values, "SOFTMAX": tf.nn.softmax, "LOGISTIC": tf.sigmoid}
    return functions[link](scores)


def _classes(node: Node) -> int:
    """Return the number of classes of a classifier."""
    names = [name for kind in ("strings", "int64s", "ints") if (name := node.take(f"classlabels_{kind}"))]
    if len(names) != 1:
        raise node.fault("it does not name its classes")
    return len(names[0])


def _tree_classifier(node: Node) -> Step:
    import tensorflow as tf

    classes = _classes(node)
    ids, weights = np.array(node.take("class_ids")), _weights(node, "class")
    link = node.expect("post_transform", "NONE", "SOFTMAX", "LOGISTIC")
    base = node.array("base_values")
    scored = np.unique(ids)
    if classes != 2 or len(scored) > 1:
        bias = np.zeros(classes) if base is None else np.asarray(base, np.float64)
        if len(bias) != classes:
            raise node.fault(f"{len(bias)} base values for {classes} classes are not converted")
        answers = _walked(node, ids, weights, bias)
        return lambda x: (tf.argmax(answers(_rows(node, x)), axis=1), _linked(answers(_rows(node, x)), link))
    # The leaves have only one number, for both classes.
    if base is not None and len(base) != 1:
        raise node.fault(f"{len(base)} base values for one score are not converted")
    positive = bool((weights >= 0).all())
    if positive and link != "NONE":
        raise node.fault(f"{link} of scores without a negative one is not converted")
    if link == "SOFTMAX":
        raise node.fault("SOFTMAX of one score is not converted")
    one = _walked(node, np.zeros_like(ids), weights, np.zeros(1) if base is None else np.asarray(base, np.float64))

    def step(x: Any) -> Any:
        score = one(_rows(node, x))
        if positive:
            both = tf.concat([1.0 - score, score], axis=1)
        else:
            both = tf.concat([-score, score], axis=1)
            both = tf.sigmoid(both) if link == "LOGISTIC" else both
        return tf.argmax(both, axis=1), both

    return step


def _tree_regressor(node: Node) -> Step:
    targets = node.take("n_targets", 1)
    ids, weights = np.array(node.take("target_ids")), _weights(node, "target")
    node.expect("post_transform", "NONE")
    average = node.expect("aggregate_function", "SUM", "AVERAGE") == "AVERAGE"
    base = node.array("base_values")
    bias = np.zeros(targets) if base is None else np.asarray(base, np.float64)
    if len(bias) != targets:
        raise node.fault(f"{len(bias)} base values for {targets} targets are not converted")
    answers = _walked(node, ids, weights, bias, average=average)
    return lambda x: answers(_rows(node, x))


def _rows(node: Node, x: Any) -> Any:
    import tensorflow as tf

    if x.dtype != tf.float32:  # thresholds are compared with the numbers as they are
        raise node.fault(f"its input is {x.dtype.name}, expected float32")
    return x


def _weights(node: Node, of: str) -> NDArray:
    weights = node.array(f"{of}_weights")
    if weights is None:
        raise node.fault("its leaves have no weights")
    return weights.astype(np.float64)


def _walked(node: Node, outputs: NDArray, weights: NDArray, bias: NDArray, *, average: bool = False) -> Any:
    """Return the function of the trees' summed leaves: float32 [rows, outputs].

    Args:
        node: the trees; its attributes about them are read here.
        outputs: int [weights], the output of each weight.
        weights: float64 [weights].
        bias: float64 [outputs], added to the sums.
        average: the sums are divided by the number of trees.
    """
    kind = "target" if "target_nodeids" in node.attributes else "class"
    leaf_trees, leaf_nodes = (np.array(node.take(f"{kind}_{name}")) for name in ("treeids", "nodeids"))
    trees, ids = np.array(node.take("nodes_treeids")), np.array(node.take("nodes_nodeids"))
    modes = np.array(node.take("nodes_modes"))
    thresholds = node.array("nodes_values")
    if thresholds is None or (thresholds.dtype == np.float64 and (thresholds != thresholds.astype(np.float32)).any()):
        raise node.fault("thresholds that float32 does not have are not converted")
    thresholds = thresholds.astype(np.float32)
    yes, no = (np.array(node.take(f"nodes_{side}nodeids")) for side in ("true", "false"))
    columns = np.array(node.take("nodes_featureids"))
    tracks = np.array(node.take("nodes_missing_value_tracks_true", None) or np.zeros(len(ids)), bool)
    node.take("nodes_hitrates")
    node.take("nodes_hitrates_as_tensor")
    if unknown := set(modes) - {"LEAF", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE"}:
        raise node.fault(f"conditions {min(unknown)} are not converted")
    parts = []
    for tree in np.unique(trees):
        own = np.flatnonzero(trees == tree)
        place = {int(number): position for position, number in enumerate(ids[own])}
        values = np.zeros((len(own), len(bias)))
        leaves = np.flatnonzero(leaf_trees == tree)
        rows = [place[int(number)] for number in leaf_nodes[leaves]]
        for row, output, weight in zip(rows, outputs[leaves], weights[leaves], strict=True):
            values[row, output] += weight
        mode, is_leaf = modes[own], modes[own] == "LEAF"
        if values[~is_leaf].any():
            raise node.fault("a node that is no leaf has a weight")
        # The two other conditions are the opposite of these, so their sides change.
        opposite = np.isin(mode, ("BRANCH_GT", "BRANCH_GTE"))
        keys = np.where(
            np.isin(mode, ("BRANCH_LT", "BRANCH_GTE")),
            forest.below(thresholds[own]),
            forest.at_most(thresholds[own].astype(np.float64)),
        )
        sides = [
            np.array([0 if leaf else place[int(n)] for n, leaf in zip(side[own], is_leaf, strict=True)])
            for side in (yes, no)
        ]
        left, right = np.where(opposite, sides[1], sides[0]), np.where(opposite, sides[0], sides[1])
        # A missing number is in no condition, so it goes the way of `false`, unless the node says otherwise.
        missing = np.where(tracks[own] != opposite, Missing.LEFT, Missing.RIGHT)
        parts.append(Nodes.of(np.where(is_leaf, LEAF, columns[own]), keys, missing, left, right, values))
        below = {*left[~is_leaf].tolist(), *right[~is_leaf].tolist()}
        if 0 in below or len(below) != len(own) - 1:
            raise node.fault(f"the first node of tree {tree} is not the root of all its nodes")
    scale = 1 / len(parts) if average else 1.0
    try:
        return walk.function(Forest.of(parts, bias, "identity", scale=scale))
    except UsageError as error:
        raise node.fault(str(error)) from None


def _extract(node: Node) -> Step:
    import tensorflow as tf

    return lambda x, places: tf.gather(x, tf.reshape(places, [-1]), axis=-1)


def _vectorizer(node: Node) -> Step:
    import tensorflow as tf

    node.take("inputdimensions")
    return lambda *parts: tf.concat([tf.cast(part, tf.float32) for part in parts], axis=1)


def _binarizer(node: Node) -> Step:
    import tensorflow as tf

    threshold = node.take("threshold", 0.0)
    return lambda x: tf.cast(x > tf.cast(threshold, x.dtype), x.dtype)


OPERATORS: dict[str, Callable[[Node], Step]] = {
    "Scaler": _scaler,
    "Normalizer": _normalizer,
    "Imputer": _imputer,
    "OneHotEncoder": _one_hot,
    "LabelEncoder": _label_encoder,
    "LinearClassifier": _linear_classifier,
    "LinearRegressor": _linear_regressor,
    "TreeEnsembleClassifier": _tree_classifier,
    "TreeEnsembleRegressor": _tree_regressor,
    "ArrayFeatureExtractor": _extract,
    "FeatureVectorizer": _vectorizer,
    "Binarizer": _binarizer,
}
