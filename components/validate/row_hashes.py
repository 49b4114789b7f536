"""Hashes of the rows of Examples, of all columns or without some of them.

A row's hash is the sum of the hashes of its cells, so a column is left out by a subtraction. Only the hashes are held
in memory: 8 bytes per row, and the same for each column that can be left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_BATCH_ROWS = 4096
_UNIQUE = 0.99  # a column with at least this share of different values names the row


@dataclass(frozen=True)
class RowHashes:
    """The rows of some files.

    Attributes:
        all: hash of each row over all columns [rows].
        columns: hash of each cell [rows], for the columns that can be left out.
    """

    all: Hashes
    columns: Mapping[str, Hashes]

    def without(self, columns: Iterable[str]) -> Hashes:
        """Return the hash of each row over all columns but these [rows]."""
        rows = self.all.copy()
        for name in columns:
            rows -= self.columns[name]
        return rows

    def unique_columns(self) -> set[str]:
        """Return the columns in which almost every row has its own value."""
        rows = max(len(self.all), 1)
        return {name for name, cells in self.columns.items() if len(np.unique(cells)) >= _UNIQUE * rows}


def read(
    files: Sequence[str], types: Mapping[str, Any], kept: Collection[str], candidates: Collection[str]
) -> RowHashes:
    """Read the rows of TFRecord files of tf.Example, compressed with gzip.

    Args:
        files: the files.
        types: TensorFlow's type of each column.
        kept: columns that can be left out.
        candidates: columns that can be left out if they name the row; the others of them are dropped after a batch.
    """
    names = [*kept, *(name for name in candidates if name not in kept)]
    rows: list[Hashes] = []
    columns: dict[str, list[Hashes]] = {name: [] for name in names}
    for batch in _batches(files, types):
        rows.append(np.sum(list(batch.values()), axis=0, dtype=np.uint64))
        for name in columns:
            columns[name].append(batch[name])
        if len(rows) == 1:
            unique = RowHashes(rows[0], {name: cells[0] for name, cells in columns.items()}).unique_columns()
            columns = {name: cells for name, cells in columns.items() if name in kept or name in unique}
    return RowHashes(_joined(rows), {name: _joined(cells) for name, cells in columns.items()})


def row(files: Sequence[str], types: Mapping[str, Any], index: int) -> dict[str, str]:
    """Return the cells of a row as text, by column; lists have their values separated by spaces."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(files, compression_type="GZIP").skip(index).take(1)
    parsed = tf.io.parse_example(next(iter(records.batch(1))), _spec(types))
    cells = {name: value.values.numpy().tolist() for name, value in parsed.items()}
    return {
        name: " ".join(v.decode("utf-8", "replace") if isinstance(v, bytes) else f"{v:.7g}" for v in values)
        for name, values in cells.items()
    }


def _spec(types: Mapping[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.io.RaggedFeature(dtype) for name, dtype in types.items()}


def _batches(files: Sequence[str], types: Mapping[str, Any]) -> Iterator[dict[str, Hashes]]:
    """Yield the hash of each cell [rows of the batch], by column."""
    import tensorflow as tf

    def parse(records: Any) -> Any:
        flat = {}
        for name, cells in tf.io.parse_example(records, _spec(types)).items():
            values = cells.values
            if values.dtype == tf.string:
                values = tf.strings.to_hash_bucket_fast(values, np.iinfo(np.int64).max)
            flat[name] = (tf.bitcast(values, tf.uint64 if values.dtype.size == 8 else tf.uint32), cells.row_splits)
        return flat

    records = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_ROWS)
    salts = {name: np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], np.uint64)[0] for name in types}
    for batch in records.map(parse).prefetch(1).as_numpy_iterator():
        yield {name: _cells(values, ends, salts[name]) for name, (values, ends) in batch.items()}


def _cells(values: NDArray[Any], ends: NDArray[np.int64], salt: np.uint64) -> Hashes:
    """Return the hash of each cell [rows] of a column: of its values, in their order, and of their number.

    Args:
        values: the values of all rows.
        ends: where each row begins in `values`, and the last one ends [rows + 1].
        salt: differs from column to column.
    """
    counts = np.diff(ends)
    positions = (np.arange(len(values)) - np.repeat(ends[:-1], counts)).astype(np.uint64)
    hashed = _mixed(_mixed(values.astype(np.uint64) ^ salt) + positions)
    totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashed, dtype=np.uint64)])
    return _mixed(totals[ends[1:]] - totals[ends[:-1]] + counts.astype(np.uint64) + salt)


def _mixed(numbers: Hashes) -> Hashes:
    """Mix the bits of each number, as SplitMix64 does (Steele et al., Fast Splittable Generators, OOPSLA 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _joined(parts: Sequence[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)
