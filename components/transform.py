"""The preprocessing_fn that Transform runs: the user's features, and the label which they never see."""

from __future__ import annotations

import inspect
from typing import Any

from benison.components import user_code

LABEL = "label_xf"
CLASSES = "classes"  # name of the label's vocabulary: class id -> class name


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Calls the user's preprocessing_fn on everything but the label, and adds the label.

    Args:
        inputs: raw features by name, as TFT gives them: Tensor [batch, 1], or SparseTensor where values may be missing.
        custom_config: `features` (reference to the user's function), `label`, `problem`, `columns` (what each column
            is, for a function with a parameter of that name).

    Returns:
        The user's features, and `label_xf` [batch]: int64 class id in order of frequency, -1 where missing or not
        seen in training; for regression float32, NaN where missing.

    Raises:
        ValueError: the user's function gave nothing, or a feature named `label_xf`.
    """
    label, problem = custom_config["label"], custom_config["problem"]
    function = user_code.load(custom_config["features"])
    more = {"columns": custom_config["columns"]} if "columns" in inspect.signature(function).parameters else {}
    features = function({name: values for name, values in inputs.items() if name != label}, **more)
    if not features or LABEL in features:
        raise ValueError(f"{custom_config['features']}: expected features by name, none of them {LABEL!r}")
    return {**features, LABEL: _target(inputs[label]) if problem == "regression" else _class_id(inputs[label])}


def dense(values: Any, default: float | str) -> Any:
    """A raw or computed column as a Tensor, whether the schema lets its values be missing or not.

    Args:
        values: Tensor or SparseTensor [batch, 1].
        default: what a missing value becomes.

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
