"""The column whose rows stay together (`splits.by`): rows with the same value are never in two splits.

A row without a value is a group of its own. Values are compared as the type of their column: 7 and 007 are one value in
a column of whole numbers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import raw_examples
from benison.serving.errors import DataError

NO_GROUP = -1  # in place of the hash of a row without a value


def text_of(values: Sequence[Any] | None, where: str = "") -> str | None:
    """Return the value of a cell as text, the same for equal values; None if there is none.

    Args:
        values: the values of the cell: bytes, or numbers as Arrow and tf.Example hold them.
        where: the place of the cell, for the message.

    Raises:
        DataError: the cell has several values.
    """
    if not values:
        return None
    if len(values) > 1:
        raise DataError(f"{where}: got {len(values)} values, expected one: the column of splits.by")
    value = values[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace") or None
    return None if value != value else repr(value)


def hashes_of(cells: Any) -> Any:
    """Return the hash of each value in TensorFlow operations, int64 of at least 0.

    Args:
        cells: Tensor of any type and shape.
    """
    import tensorflow as tf

    texts = cells if cells.dtype == tf.string else tf.strings.as_string(cells, shortest=cells.dtype.is_floating)
    return tf.strings.to_hash_bucket_fast(texts, np.iinfo(np.int64).max)


def read(files: Sequence[str], column: str) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    """Yield the records of TFRecord files in batches, with the hash of the group of each, or `NO_GROUP`.

    Args:
        files: GZIP TFRecord files of tf.Example.
        column: the column of `splits.by`.
    """
    kind = raw_examples.type_in_records(files, column)
    for records, columns in raw_examples.cells_in_records(files, {} if kind is None else {column: kind}):
        groups = np.full(len(records), NO_GROUP)
        if columns:
            cells = columns[column]
            present = raw_examples.has_value(cells.values).numpy()
            groups[cells.indices[:, 0].numpy()[present]] = hashes_of(cells.values).numpy()[present]
        yield records, groups


def values(files: Sequence[str], column: str) -> NDArray[np.int64]:
    """Return the hashes of all groups in some files, sorted, each once; without rows of no group."""
    batches = [np.unique(groups) for _, groups in read(files, column)] if files else []
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *batches]))
    return every[every != NO_GROUP]


def link_without(source: Path, target: Path, column: str, left_out: NDArray[np.int64]) -> int:
    """Write the rows of a file that are in none of some groups; the file is linked if that is all of its rows.

    Args:
        source: a GZIP TFRecord file of tf.Example.
        target: the new file.
        column: the column of `splits.by`.
        left_out: the hashes of the groups.

    Returns:
        The number of rows that were left out.
    """
    import tensorflow as tf

    if not any(np.isin(groups, left_out).any() for _, groups in read([str(source)], column)):
        link(source, target)
        return 0
    count = 0
    with tf.io.TFRecordWriter(str(target), "GZIP") as writer:
        for records, groups in read([str(source)], column):
            keep = ~np.isin(groups, left_out)
            count += int((~keep).sum())
            for record in records.numpy()[keep]:
                writer.write(record)
    return count


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it: the target may be on another file system, or one without hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row [rows], from 0; the rows of one group are in one fold, all folds about equally large.

    Groups are dealt in random order, each to the fold with the fewest rows.

    Args:
        groups: the group of each row [rows]; a row with `NO_GROUP` is a group of its own.
        count: the number of folds.
        seed: the same seed and groups give the same folds.
    """
    rng = np.random.default_rng(seed)
    single = groups == NO_GROUP
    if single.all():
        return rng.permutation(len(groups)) % count
    _, ids = np.unique(np.where(single, -1 - np.arange(len(groups)), groups), return_inverse=True)
    sizes = np.bincount(ids)
    fold_of, rows = np.empty(len(sizes), np.int64), np.zeros(count, np.int64)
    order = rng.permutation(len(sizes))
    for group in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first, so that the last ones fill up
        fold_of[group] = rows.argmin()
        rows[fold_of[group]] += sizes[group]
    return fold_of[ids]
