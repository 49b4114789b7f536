"""The preprocessing_fn that Transform runs: it calls the user's function for the features and adds the label."""

from __future__ import annotations

import inspect
from typing import Any

from benison.components import user_code

LABEL = "label_xf"
CLASSES = "classes"  # name of the label's vocabulary: class id -> class name


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Call the user's preprocessing_fn on all columns except the label, and add the label.

    Args:
        inputs: raw features by name, as TFT passes them: Tensor [batch, 1], or SparseTensor if values may be missing.
        custom_config: `features` (reference to the user's function), `label`, `problem`, `columns` (the kind of each
            column, for a function that has a parameter with this name).

    Returns:
        The user's features, and `label_xf` [batch]: int64 class id in order of frequency, -1 if the label is missing
        or was not seen in training; for regression float32, NaN if it is missing.

    Raises:
        ValueError: the user's function returned no feature, or one named `label_xf`.
    """
    label, problem = custom_config["label"], custom_config["problem"]
    function = user_code.load(custom_config["features"])
    options = {"columns": custom_config["columns"]} if "columns" in inspect.signature(function).parameters else {}
    features = function({name: values for name, values in inputs.items() if name != label}, **options)
    if not features or LABEL in features:
        got = f"a feature named {LABEL!r}, which is reserved for the label" if features else "no feature"
        raise ValueError(f"{custom_config['features']} returned {got}; expected a dict of features by name")
    return {**features, LABEL: _target(inputs[label]) if problem == "regression" else _class_id(inputs[label])}


def dense(values: Any, default: float | str) -> Any:
    """Return a raw or computed column as a Tensor, whether or not values are missing.

    Args:
        values: Tensor or SparseTensor [batch, 1].
        default: replaces missing values.

    Returns:
        Tensor [batch, 1].
    """
    import tensorflow as tf

    if isinstance(values, tf.SparseTensor):
        shape = tf.stack([values.dense_shape[0], tf.constant(1, tf.int64)])
        values = tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), default_value=default)
    return tf.reshape(values, [-1, 1])


def _class_id(label: Any) -> Any:
    import tensorflow as tf
    import tensorflow_transform as tft

    if isinstance(label, tf.SparseTensor):
        values = label.values if label.dtype == tf.string else tf.strings.as_string(label.values)
        label = tf.SparseTensor(label.indices, values, label.dense_shape)
    elif label.dtype != tf.string:
        label = tf.strings.as_string(label)
    return dense(tft.compute_and_apply_vocabulary(label, vocab_filename=CLASSES), default=-1)[:, 0]


def _target(label: Any) -> Any:
    import tensorflow as tf

    return dense(tf.cast(label, tf.float32), default=float("nan"))[:, 0]
