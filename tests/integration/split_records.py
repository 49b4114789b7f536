"""The records of an Examples artifact, split by split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _features(folder: Path) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The split and, by name, the features of each record."""
    import tensorflow as tf

    for file in folder.glob("Split-*/*"):
        split = file.parent.name.removeprefix("Split-")
        for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator():
            yield split, sorted(tf.train.Example.FromString(record).features.feature.items())


def split_records(folder: Path) -> dict[str, list[str]]:
    """The records of each split, parsed and in no order: serialized maps have none."""
    found: dict[str, list[str]] = {}
    for split, features in _features(folder):
        found.setdefault(split, []).append(str([(name, str(value)) for name, value in features]))
    return {split: sorted(records) for split, records in found.items()}


def split_numbers(folder: Path) -> dict[str, Any]:
    """Transformed records of each split, in no order: float64 [records, values], features by name."""
    import numpy as np

    found: dict[str, list[list[float]]] = {}
    for split, features in _features(folder):
        values = [v for _, feature in features for v in (*feature.float_list.value, *feature.int64_list.value)]
        found.setdefault(split, []).append(values)
    return {split: np.array(values) for split, values in found.items()}


def farthest(one: Any, other: Any) -> float:
    """Return the largest difference between two sets of records, after pairing each record with one of the other set.

    Args:
        one: float64 [records, values].
        other: the same shape.
    """
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    apart = np.abs(one[:, None] - other[None]).max(axis=2)
    return float(apart[linear_sum_assignment(apart)].max())
