"""The features of trees, which take numbers as they are: not scaled, NaN where missing, and categories as ids.

    number      the number
    category    the id of the value
    hashed      the id of the value
    date        days since 1970, month, day of the month, weekday, minute of the day
    text        the number of characters and of words
    ignore      no feature

All columns are in two tensors, so that a model parses two features however many columns there are.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import graph_tools

from benison import category_ids, dense_columns
from benison.components.feature_groups import named
from benison.components.raw_columns import source
from benison.pipelines.generic.columns import VOCABULARIES
from benison.pipelines.generic.features import date_columns, names_of, strings

VALUES = {
    "category": 256,
    "hashed": 4096,
}  # the most frequent values of a column that have an id, or its size if larger
MISSING, UNSEEN, FIRST = 0, 1, 2  # ids: of a missing cell, of a value without an id, and the first id of a value


def tree_features(inputs: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compute the features of trees from the columns that are not ignored.

    Args:
        inputs: raw features, Tensor or SparseTensor [batch, 1].
        columns: `kind` of each column, with the optional `format` of a date.

    Returns:
        `numbers` float32 [batch, n], NaN where missing; `categories` int64 [batch, m], ids. A feature without columns
        is left out.
    """
    integers = [name for name in names_of("number", columns) if inputs[name].dtype.is_integer]
    numbers = [
        _floats(inputs, [name for name in names_of("number", columns) if name not in integers]),
        _integers(inputs, integers),
        *_dates(inputs, {name: columns[name].get("format") for name in names_of("date", columns)}),
        _texts(inputs, names_of("text", columns)),
    ]
    groups = {"numbers": numbers, "categories": [_categories(inputs, columns)]}
    features = {}
    for group, parts in groups.items():
        if some := [part for part in parts if part is not None]:
            names = [name for part_names, _ in some for name in part_names]
            features[group] = named(tf.concat([values for _, values in some], axis=1), names)
    return features


def default_features(
    inputs: Mapping[str, Any],
    features: Mapping[str, Any],
    columns: Mapping[str, Mapping[str, Any]],
    lists: Collection[str] = (),
) -> dict[str, Any]:
    """Compute the features of trees for a preprocessing_fn that returns none.

    Without `columns`, these are the columns from which the other features are computed: what the user left out, such as
    an id, trees do not see either. Text is a category. Columns of several values per row are left out.

    Args:
        inputs: raw features, Tensor or SparseTensor [batch, 1].
        features: what the preprocessing_fn returned.
        columns: the kind of each column; empty if the YAML has no `columns`.
        lists: the columns with any number of values per row.
    """
    if columns:
        return tree_features(inputs, columns)
    sources = {name: source(values) for name, values in inputs.items()}
    used = graph_tools.get_dependent_inputs(next(iter(features.values())).graph, sources, dict(features))
    kinds = {
        name: {"kind": "hashed" if values.dtype == tf.string else "number"}
        for name, values in sorted((name, inputs[name]) for name in used)
        if name not in lists and (isinstance(values, tf.SparseTensor) or values.shape[1:].num_elements() == 1)
    }
    return tree_features(inputs, kinds)


_Part = tuple[list[str], Any]  # names of columns, and their values [batch, columns]


def _floats(inputs: Mapping[str, Any], names: Sequence[str]) -> _Part | None:
    if not names:
        return None
    return list(names), dense_columns(inputs, names, math.nan, tf.float32)


def _integers(inputs: Mapping[str, Any], names: Sequence[str]) -> _Part | None:
    """Return whole numbers, less the smallest one of `train`, and what float32 has lost of each.

    Beyond 2 ** 24, float32 does not have all whole numbers: times in seconds since 1970 would be rounded to 2 minutes.
    Of such a number, the second part is the difference to the rounded one, so that the two together have its value.
    """
    if not names:
        return None
    missing = tf.int64.min
    values = dense_columns(inputs, names, missing, tf.int64)
    is_missing = tf.equal(values, missing)
    smallest = tft.min(tf.where(is_missing, tf.int64.max, values), reduce_instance_dims=False)
    distance = values - smallest
    rounded = tf.cast(distance, tf.float32)
    lost = tf.cast(distance - tf.cast(rounded, tf.int64), tf.float32)
    both = tf.concat([tf.where(is_missing, math.nan, part) for part in (rounded, lost)], axis=1)
    return [*names, *(f"{name} (rest)" for name in names)], both


def _dates(inputs: Mapping[str, Any], forms: Mapping[str, str | None]) -> list[_Part]:
    parts = []
    for form in dict.fromkeys(forms.values()):
        same = [name for name, other in forms.items() if other == form]
        part, known = date_columns(inputs, same, form)
        numbers = {
            "days": part["days"],
            "month": part["m"],
            "day": part["d"],
            "weekday": (part["days"] + 3) % 7,
            "minute": part["H"] * 60 + part["M"],
        }
        values = [tf.where(known, tf.cast(number, tf.float32), math.nan) for number in numbers.values()]
        parts.append(([f"{name} ({number})" for number in numbers for name in same], tf.concat(values, axis=1)))
    return parts


def _texts(inputs: Mapping[str, Any], names: Sequence[str]) -> _Part | None:
    if not names:
        return None
    cells = strings(inputs, names)
    valid = tf.strings.unicode_transcode(cells, "UTF-8", "UTF-8", errors="replace")
    words = tf.strings.split(tf.strings.strip(tf.reshape(valid, [-1]))).row_lengths()
    numbers = [tf.strings.length(valid, unit="UTF8_CHAR"), tf.reshape(words, tf.shape(cells))]
    values = [tf.where(tf.equal(cells, ""), math.nan, tf.cast(number, tf.float32)) for number in numbers]
    return [f"{name} ({part})" for part in ("characters", "words") for name in names], tf.concat(values, axis=1)


def _categories(inputs: Mapping[str, Any], columns: Mapping[str, Mapping[str, Any]]) -> _Part | None:
    sizes = {
        name: max(VALUES[kind], columns[name].get("size") or 0)
        for kind in VOCABULARIES["trees"]
        for name in names_of(kind, columns)
    }
    if not sizes:
        return None
    words = strings(inputs, sizes)
    ids = category_ids(words, [*sizes.values()], "trees")
    known = tf.where(ids < 0, tf.constant(UNSEEN, tf.int64), ids + FIRST)
    return list(sizes), tf.where(tf.equal(words, ""), tf.constant(MISSING, tf.int64), known)
