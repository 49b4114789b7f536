"""Converts rows to inputs of a model's signatures: serialised examples, and the columns of `raw`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.transform import dense
from benison.serving.signature_names import argument_names


def first_records(folders: Sequence[str], most: int) -> NDArray:
    """Read the first serialised tf.Examples [rows] of gzipped TFRecord files, in the order of the file names."""
    import tensorflow as tf

    files = sorted(file for folder in folders for file in tf.io.gfile.glob(f"{folder}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(most)
    return np.array([record.numpy() for record in records], object)


def raw_rows(records: NDArray, spec: Mapping[str, Any], label: str) -> dict[str, NDArray]:
    """Parse examples into the inputs of `raw`.

    Args:
        records: serialised tf.Examples [rows].
        spec: parsing spec of the raw features, with the label.
        label: name of the label, which is not an input.

    Returns:
        Values [rows] by argument of `raw`; a missing value is '', NaN or -1.
    """
    import tensorflow as tf

    inputs = {name: feature for name, feature in spec.items() if name != label}
    parsed = tf.io.parse_example(tf.constant(records, tf.string), inputs)
    arguments = argument_names(inputs)
    return {arguments[name]: _as_column(values) for name, values in parsed.items()}


def _as_column(values: Any) -> NDArray:
    default: Any = "" if values.dtype.name == "string" else float("nan") if values.dtype.is_floating else -1
    return np.asarray(dense(values, default=default)[:, 0])
