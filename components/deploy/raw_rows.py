"""Rows as a model's signatures take them: serialised examples, and what `raw` has in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.transform import dense
from benison.serving.signature_names import argument_names


def first_records(folders: Sequence[str], most: int) -> NDArray:
    """The first serialised tf.Examples [rows] of gzipped TFRecord files, in the order of the files' names."""
    import tensorflow as tf

    files = sorted(file for folder in folders for file in tf.io.gfile.glob(f"{folder}/*"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(most)
    return np.array([record.numpy() for record in records], object)


def raw_rows(records: NDArray, spec: Mapping[str, Any], label: str) -> dict[str, NDArray]:
    """The columns of examples.

    Args:
        records: serialised tf.Examples [rows].
        spec: the raw features' parsing spec, the label's included.
        label: its name; what is served does not have it.

    Returns:
        By argument of `raw`: values [rows]; a missing one is '', NaN or -1.
    """
    import tensorflow as tf

    wanted = {name: feature for name, feature in spec.items() if name != label}
    parsed = tf.io.parse_example(tf.constant(records, tf.string), wanted)
    arguments = argument_names(wanted)
    return {arguments[name]: _as_column(values) for name, values in parsed.items()}


def _as_column(values: Any) -> NDArray:
    default: Any = "" if values.dtype.name == "string" else float("nan") if values.dtype.is_floating else -1
    return np.asarray(dense(values, default=default)[:, 0])
