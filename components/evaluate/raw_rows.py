"""Converts rows between serialised examples and the columns of the signature `raw`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import raw_examples
from benison.components.raw_columns import dense
from benison.serving.missing_values import is_marker, marker

_BATCH_ROWS = 4096
_TYPES = {"O": "string", "f": "float32", "i": "int64"}  # TensorFlow's type by NumPy's kind


def first_records(files: Sequence[str], most: int) -> NDArray:
    """Read the first serialised tf.Examples [rows] of a split's files, see `benison.components.raw_examples`."""
    return np.array([record.numpy() for record in _records(files).take(most)], object)


def random_rows(batches: Iterable[Sequence[NDArray]], rows: int, seed: int, most_seen: int) -> list[NDArray]:
    """Choose rows at random, in their order; each row is as likely as any other.

    Args:
        batches: arrays of the same rows [rows].
        rows: how many to choose; all if there are fewer.
        seed: of the choice.
        most_seen: after so many rows no further batch is read.

    Returns:
        The chosen rows of each array; no array if there is no batch.
    """
    random, keys, seen = np.random.default_rng(seed), np.zeros(0), 0
    chosen: list[NDArray] = []
    for batch in batches:
        chosen = [np.concatenate(parts) for parts in zip(chosen, batch, strict=True)] if chosen else list(batch)
        keys = np.concatenate([keys, random.random(len(batch[0]))])
        kept = np.sort(np.argsort(keys, kind="stable")[:rows])
        keys, chosen, seen = keys[kept], [values[kept] for values in chosen], seen + len(batch[0])
        if seen >= most_seen:
            break
    return chosen


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
        Values [rows] by argument of `raw`, or [rows, n] if a row has several; see `benison.serving.missing_values` for
        missing ones. Shorter lists are filled up with the value for a missing cell.
    """
    import tensorflow as tf

    inputs = {name: spec[name] for name in arguments}
    parsed = tf.io.parse_example(tf.constant(records, tf.string), inputs)
    return {arguments[name]: _as_input(values, inputs[name]) for name, values in parsed.items()}


def _as_input(values: Any, spec: Any) -> NDArray:
    """Return a parsed column as an input of `raw`."""
    import tensorflow as tf

    missing = marker(values.dtype.name)
    if raw_examples.is_list(spec):
        rows = np.asarray(tf.sparse.to_dense(values, default_value=missing))
        empty = np.full((len(rows), 1), missing.encode() if isinstance(missing, str) else missing, rows.dtype)
        return rows if rows.shape[1] else empty
    if len(raw_examples.input_shape(spec)) > 1:
        return np.asarray(values)
    return np.asarray(dense(values, default=missing)[:, 0])


def examples(
    rows: Mapping[str, NDArray],
    columns: Mapping[str, str],
    missing: Mapping[str, Any],
    without: str = "",
    lists: Collection[str] = (),
) -> NDArray:
    """Return rows as serialised tf.Examples [rows], which lack a feature where its cell is missing.

    Args:
        rows: values [rows] or [rows, n] by argument of `raw`.
        columns: the feature of each argument.
        missing: the value of a missing cell by argument; required arguments have none.
        without: an argument that no example has.
        lists: arguments whose rows are filled up with the value for a missing cell, which no example has.
    """
    import tensorflow as tf

    kinds = {
        "O": lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
        "f": lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
        "i": lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
    }
    fillers = {name: marker(_TYPES[rows[name].dtype.kind]) for name in lists}
    makers = {name: kinds[values.dtype.kind] for name, values in rows.items()}
    records = []
    for row in zip(*(values.tolist() for values in rows.values()), strict=True):
        cells = {name: value if isinstance(value, list) else [value] for name, value in zip(rows, row, strict=True)}
        for name, filler in {**missing, **fillers}.items():
            cells[name] = [value for value in cells[name] if not is_marker(value, filler)]
        present = {
            columns[name]: makers[name](values)
            for name, values in cells.items()
            if name != without and (values or name not in {*missing, *fillers})
        }
        records.append(tf.train.Example(features=tf.train.Features(feature=present)).SerializeToString())
    return np.array(records, object)


def _records(files: Sequence[str]) -> Any:
    import tensorflow as tf

    return tf.data.TFRecordDataset(list(files), compression_type="GZIP")
