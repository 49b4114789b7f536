"""Converts rows between serialised examples and the columns of the signature `raw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.transform import dense
from benison.serving.missing_values import is_marker, marker

_BATCH_ROWS = 4096


def first_records(files: Sequence[str], most: int) -> NDArray:
    """Read the first serialised tf.Examples [rows] of a split's files, see `benison.components.raw_examples`."""
    return np.array([record.numpy() for record in _records(files).take(most)], object)


def seen_ranges(files: Sequence[str], spec: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the smallest and the largest value of each numeric feature in a split.

    Args:
        files: the split's files, see `benison.components.raw_examples`.
        spec: parsing spec of the raw features.

    Returns:
        The two values by feature; NaN does not count, and a feature without a value is left out.
    """
    import tensorflow as tf

    numeric = {name: tf.io.VarLenFeature(feature.dtype) for name, feature in spec.items() if feature.dtype != tf.string}
    seen: dict[str, tuple[Any, Any]] = {}
    for records in _records(files).batch(_BATCH_ROWS) if numeric else ():
        for name, values in tf.io.parse_example(records, numeric).items():
            numbers = values.values.numpy()
            numbers = numbers[~np.isnan(numbers)]
            if numbers.size:
                ends = (numbers.min(), numbers.max(), *seen.get(name, ()))
                seen[name] = (min(ends), max(ends))
    return seen


def raw_rows(records: NDArray, spec: Mapping[str, Any], arguments: Mapping[str, str]) -> dict[str, NDArray]:
    """Parse examples into the inputs of `raw`.

    Args:
        records: serialised tf.Examples [rows].
        spec: parsing spec of the raw features; it may contain the label.
        arguments: the argument of each column that is an input.

    Returns:
        Values [rows] by argument of `raw`; see `benison.serving.missing_values` for missing ones.
    """
    import tensorflow as tf

    inputs = {name: spec[name] for name in arguments}
    parsed = tf.io.parse_example(tf.constant(records, tf.string), inputs)
    return {
        arguments[name]: np.asarray(dense(values, default=marker(values.dtype.name))[:, 0])
        for name, values in parsed.items()
    }


def examples(
    rows: Mapping[str, NDArray], columns: Mapping[str, str], missing: Mapping[str, Any], without: str = ""
) -> NDArray:
    """Return rows as serialised tf.Examples [rows], which lack a feature where its cell is missing.

    Args:
        rows: values [rows] by argument of `raw`.
        columns: the feature of each argument.
        missing: the value of a missing cell by argument; required arguments have none.
        without: an argument that no example has.
    """
    import tensorflow as tf

    kinds = {
        "O": lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])),
        "f": lambda value: tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
        "i": lambda value: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])),
    }
    makers = {name: kinds[values.dtype.kind] for name, values in rows.items()}
    records = []
    for row in zip(*(values.tolist() for values in rows.values()), strict=True):
        present = {
            columns[name]: makers[name](value)
            for name, value in zip(rows, row, strict=True)
            if name != without and (name not in missing or not is_marker(value, missing[name]))
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())
    return np.array(records, object)


def _records(files: Sequence[str]) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(list(files), compression_type="GZIP")
