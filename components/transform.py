"""The preprocessing_fn that Transform runs: it calls the user's function for the features and adds the label."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from benison.components import feature_groups, groups, user_code
from benison.components.feature_groups import TREES
from benison.components.label_classes import LINE_ESCAPES, Classes, LabelSchema, ordered
from benison.serving.errors import UsageError
from benison.serving.missing_values import NO_MARKS, Marks
from benison.serving.signature_names import argument_names

if TYPE_CHECKING:
    import tensorflow_transform as tft

LABEL, GROUP = "label_xf", "group_xf"
RESERVED = frozenset({LABEL, GROUP})  # names of what is no feature
_LIST = "benison_list"  # attribute of a column with any number of values per row: its name
CLASSES = "classes"  # name of the label's vocabulary: class id -> class name, see `label_classes`


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Call the user's preprocessing_fn on all columns except the label, and add the label.

    Args:
        inputs: raw features by name, as TFT passes them: Tensor [batch, 1], or SparseTensor if values may be missing. A
            value that stands for a missing cell (`benison.serving.missing_values`) is missing for the user's function.
        custom_config: `features` (reference to the user's function), `label`, `problem`, `columns` (the kind of each
            column, for a function that has a parameter with this name), `marks` (fields of `Marks`), `positive` (of the
            YAML, or None), `label_schema` (fields of `LabelSchema`), `lists` (columns with any number of values),
            `group` (the column of `splits.by`) if there is one, and if a member needs them `trees` (reference to the
            function of the features of trees) and `graph` (the folder of Transform's graph).

    Returns:
        The user's features, those of trees under names of their own (`feature_groups`), and `label_xf` [batch]: int64
        class id in the order of `label_classes`, -1 if the label is missing or not one of the classes; for regression
        float32, NaN if it is missing. With a group also `group_xf` [batch], see `benison.components.groups`.

    Raises:
        ValueError: the user's function returned no feature, or one with a reserved name.
    """
    label, problem = custom_config["label"], custom_config["problem"]
    group = custom_config.get("group")
    raw = {name: values for name, values in inputs.items() if name not in (label, group)}
    marks = Marks(**custom_config["marks"])
    columns, lists = custom_config["columns"], custom_config.get("lists", ())
    cleaned = without_missing(raw, marks, lists)
    features = dict(user_features(custom_config["features"], cleaned, columns) or {})
    taken = next((name for name in features if name in RESERVED or feature_groups.reserved(name)), None)
    if not features or taken:
        got = f"a feature named {taken!r}, which is a reserved name" if features else "no feature"
        raise ValueError(f"{custom_config['features']} returned {got}; expected a dict of features by name")
    of_trees = features.pop(TREES) if isinstance(features.get(TREES), Mapping) else None
    if reference := custom_config.get("trees", ""):
        if of_trees is None:
            of_trees = user_code.load(reference)(cleaned, features, columns, lists)
        of_trees = feature_groups.flat(TREES, of_trees)
        features.update(of_trees)
        feature_groups.write_names(of_trees, custom_config["graph"])
    if group:
        features = {**features, GROUP: _group(without_markers(inputs[group], marks))}
    if problem == "regression":
        return {**features, LABEL: _target(inputs[label])}
    schema = LabelSchema(**{**custom_config["label_schema"], "listed": tuple(custom_config["label_schema"]["listed"])})
    order = partial(ordered, label, problem, schema=schema, positive=custom_config["positive"])
    return {**features, LABEL: _class_id(inputs[label], order)}


def user_features(reference: str, inputs: Mapping[str, Any], columns: Mapping[str, Any]) -> Any:
    """Call the user's preprocessing_fn.

    Args:
        reference: reference to the function.
        inputs: raw features by name, without the label, see `without_missing`.
        columns: the kind of each column, for a function that has a parameter with this name.

    Returns:
        What the function returns: it should be a dict of features.
    """
    function = user_code.load(reference)
    options = {"columns": columns} if "columns" in inspect.signature(function).parameters else {}
    return function(dict(inputs), **options)


def without_missing(raw: Mapping[str, Any], marks: Marks = NO_MARKS, lists: Collection[str] = ()) -> dict[str, Any]:
    """Return raw features without the values that stand for a missing cell.

    Args:
        raw: raw features by name.
        marks: what else stands for a missing cell.
        lists: the columns with any number of values per row, which `dense` refuses.
    """
    inputs = {name: without_markers(values, marks) for name, values in raw.items()}
    for name in inputs.keys() & set(lists):
        setattr(inputs[name], _LIST, name)
    return inputs


def without_markers(values: Any, marks: Marks = NO_MARKS) -> Any:
    """Return a raw column without the values that stand for a missing cell: '', NaN or the missing integer, and marks.

    This is part of Transform's graph, so such a cell is the same in training and in every signature of a model.

    Args:
        values: SparseTensor [batch, 1]; a Tensor, whose cells are never missing, stays as it is.
        marks: the marks of the pipeline's CSV, such as NA, or -999 in a column of numbers.
    """
    import tensorflow as tf

    if not isinstance(values, tf.SparseTensor):
        return values
    present = tf.reduce_all(values.values[:, None] != tf.constant(marks.of(values.dtype.name), values.dtype), axis=1)
    if values.dtype.is_floating:
        present &= tf.math.logical_not(tf.math.is_nan(values.values))
    return tf.sparse.retain(values, present)


def load_graph(transform: tft.TFTransformOutput) -> tuple[Callable[[Mapping[str, Any]], dict[str, Any]], Any]:
    """Load Transform's graph.

    `TFTransformOutput.transform_features_layer` would do, but it is a tf_keras model: an export then traces that model
    once more, by AutoGraph, which takes longer than all signatures.

    Returns:
        A function from raw to transformed features, and the object that holds the variables and tables of the graph.
    """
    import tensorflow as tf
    from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

    loader = SavedModelLoader(transform.transform_savedmodel_dir)
    holder = tf.Module()
    holder.loaded = loader.__dict__  # as TFT's own layer does it
    return loader.apply_transform_model, holder


def as_columns(features: Mapping[str, Any]) -> dict[str, Any]:
    """Reshape scalars [batch] to [batch, 1], the shape of Keras inputs."""
    import tensorflow as tf

    return {name: tf.expand_dims(v, -1) if v.shape.rank == 1 else v for name, v in features.items()}


def as_arguments(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformed features by argument of the signature `transformed`, without the label and the like."""
    arguments = argument_names(name for name in features if name not in RESERVED)
    return {argument: features[name] for name, argument in arguments.items()}


def dense(values: Any, default: float | str) -> Any:
    """Return a raw or computed column as a Tensor, whether or not values are missing.

    Args:
        values: Tensor or SparseTensor [batch, 1].
        default: replaces missing values.

    Returns:
        Tensor [batch, 1].

    Raises:
        UsageError: rows have several values; reshaped, they would be other rows.
    """
    import tensorflow as tf

    if column := getattr(values, _LIST, ""):
        raise UsageError(
            f"dense takes one value per row, and rows of {column!r} have any number; use tf.sparse.to_dense, and "
            "reduce the result to a fixed width"
        )
    if not isinstance(values, tf.SparseTensor) and values.shape.rank == 2 and (values.shape[1] or 1) > 1:
        raise UsageError(f"dense takes one value per row, got {values.shape[1]}; use this column as it is")
    if isinstance(values, tf.SparseTensor):
        shape = tf.stack([values.dense_shape[0], tf.constant(1, tf.int64)])
        values = tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), default_value=default)
    return tf.reshape(values, [-1, 1])


def as_text(values: Any) -> Any:
    """Convert a raw column, a Tensor or SparseTensor, to text; every reader of the label names a class in this way.

    A float is written as in Python: 1.0, not 1 or 1.000000.
    """
    import tensorflow as tf

    if values.dtype == tf.string:
        return values
    if isinstance(values, tf.SparseTensor):
        return tf.SparseTensor(values.indices, as_text(values.values), values.dense_shape)
    if values.dtype.is_floating:
        return tf.strings.regex_replace(tf.strings.as_string(values, shortest=True), r"^(-?[0-9]+)$", r"\1.0")
    return tf.strings.as_string(values)


def _as_lines(names: Any) -> Any:
    """Return the lines of classes in the vocabulary, as `label_classes.as_line` writes them."""
    import tensorflow as tf

    if isinstance(names, tf.SparseTensor):
        return tf.SparseTensor(names.indices, _as_lines(names.values), names.dense_shape)
    for text, escape in LINE_ESCAPES:
        # Both are regular expressions, in which a backslash is written twice.
        names = tf.strings.regex_replace(names, text.replace("\\", r"\\"), escape.replace("\\", r"\\"))
    return names


def _class_id(label: Any, order: Callable[[list[str]], Classes]) -> Any:
    """Return the class id [batch], by a vocabulary in the order that `order` gives the classes of `train`."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.components.class_vocabulary import ClassVocabulary

    names = as_text(label)
    (file,) = tft.experimental.ptransform_analyzer(
        [names.values if isinstance(names, tf.SparseTensor) else names],
        ClassVocabulary(CLASSES, order),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[b"?"],
    )
    return dense(tft.apply_vocabulary(_as_lines(names), file, default_value=-1), default=-1)[:, 0]


def _group(cells: Any) -> Any:
    """Return the hash of the group of each row [batch]."""
    import tensorflow as tf

    if not isinstance(cells, tf.SparseTensor):
        return groups.hashes_of(cells)[:, 0]
    hashes = tf.SparseTensor(cells.indices, groups.hashes_of(cells.values), cells.dense_shape)
    return dense(hashes, default=groups.NO_GROUP)[:, 0]


def _target(label: Any) -> Any:
    import tensorflow as tf

    return dense(tf.cast(label, tf.float32), default=float("nan"))[:, 0]
