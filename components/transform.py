"""The preprocessing_fn that Transform runs: it calls the user's function for the features and adds the label."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from benison.components import feature_groups, groups, raw_columns, sample_weights, user_code
from benison.components.feature_groups import FOREIGN, TREES
from benison.components.label_classes import Classes, LabelSchema, ordered
from benison.components.raw_columns import as_they_are, dense, without_markers
from benison.serving.missing_values import NO_MARKS, Marks
from benison.serving.signature_names import argument_names
from benison.serving.vocabulary_lines import LINE_ESCAPES

LABEL, GROUP, WEIGHT = "label_xf", "group_xf", "weight_xf"
RESERVED = frozenset({LABEL, GROUP, WEIGHT})  # names of what is no feature
CLASSES = "classes"  # name of the label's vocabulary: class id -> class name, see `label_classes`


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Call the user's preprocessing_fn on all columns except the label, and add the label.

    Args:
        inputs: raw features by name, as TFT passes them: Tensor [batch, 1], or SparseTensor if values may be missing. A
            value that stands for a missing cell (`benison.serving.missing_values`) is missing for the user's function.
        custom_config: `features` (reference to the user's function), `label`, `problem`, `columns` (the kind of each
            column, for a function that has a parameter with this name), `marks` (fields of `Marks`), `positive` (of the
            YAML, or None), `label_schema` (fields of `LabelSchema`), `lists` (columns with any number of values),
            `single` (columns with at most one), `group` (the column of `splits.by`) and `weight` (that of the sample
            weights) if there are any, and if a member needs them `trees` (reference to the function of the features of
            trees), `graph` (the folder of Transform's graph) and `foreign` (the raw columns of models that were trained
            elsewhere).

    Returns:
        The user's features, those of trees under names of their own (`feature_groups`), and `label_xf` [batch]: int64
        class id in the order of `label_classes`, -1 if the label is missing or not one of the classes; for regression
        float32, NaN if it is missing. With a group also `group_xf` [batch], see `benison.components.groups`; with a
        weight also `weight_xf` float32 [batch], as it is in the data.

    Raises:
        ValueError: the user's function returned no feature, or one with a reserved name.
    """
    label, problem = custom_config["label"], custom_config["problem"]
    group, weight = custom_config.get("group"), custom_config.get("weight")
    raw = {name: values for name, values in inputs.items() if name not in (label, group, weight)}
    marks = Marks(**{**custom_config["marks"], "texts": tuple(custom_config["marks"].get("texts", ()))})
    columns, lists = custom_config["columns"], custom_config.get("lists", ())
    cleaned = without_missing(raw, marks, lists, custom_config.get("single", ()))
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
    if foreign := custom_config.get("foreign"):
        features.update(feature_groups.flat(FOREIGN, as_they_are(cleaned, foreign)))
    if group:
        features = {**features, GROUP: _group(without_markers(inputs[group], marks))}
    if weight:
        features = {**features, WEIGHT: sample_weights.of_cells(inputs[weight])}
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


def without_missing(
    raw: Mapping[str, Any], marks: Marks = NO_MARKS, lists: Collection[str] = (), single: Collection[str] = ()
) -> dict[str, Any]:
    """Return raw features without the values that stand for a missing cell.

    Args:
        raw: raw features by name.
        marks: what else stands for a missing cell.
        lists: the columns with any number of values per row, which `dense` refuses.
        single: the columns with at most one value per row.
    """
    of_one_value = raw_columns.of_one_value({name: raw[name] for name in raw if name in single}, marks)
    inputs = {
        name: of_one_value[name] if name in of_one_value else without_markers(values, marks)
        for name, values in raw.items()
    }
    for name in inputs.keys() & set(lists):
        raw_columns.mark_list(inputs[name], name)
    return inputs


def as_columns(features: Mapping[str, Any]) -> dict[str, Any]:
    """Reshape scalars [batch] to [batch, 1], the shape of Keras inputs."""
    import tensorflow as tf

    return {name: tf.expand_dims(v, -1) if v.shape.rank == 1 else v for name, v in features.items()}


def as_arguments(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return transformed features by argument of the signature `transformed`, without the label and the like."""
    arguments = argument_names(name for name in features if name not in RESERVED)
    return {argument: features[name] for name, argument in arguments.items()}


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
    """Return the lines of classes in the vocabulary, as `vocabulary_lines.as_line` writes them."""
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
