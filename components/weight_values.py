"""The sample weights in the rows of every split: all of them must be numbers of at least 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.types import artifact_utils

from benison.components import raw_examples
from benison.components.sample_weights import effective_rows
from benison.serving.errors import DataError

_FEW = 10  # rows: of fewer, one may have most of the weight by chance


def check(examples: list[types.Artifact], schema: Any, column: str) -> dict[str, tuple[int, float]]:
    """Check the weights of all rows of all splits.

    Args:
        examples: raw examples, GZIP TFRecord files of tf.Example.
        schema: TensorFlow Metadata's Schema.
        column: the column of the weights.

    Returns:
        By split, the number of rows that count, and that of rows of equal weight that tell as much.

    Raises:
        DataError: the column has no numbers, or a row has no weight, a negative one, or one that is not finite, or no
            row of a split counts, or a single one outweighs all others.
    """
    kind = raw_examples.column_types(schema).get(column)
    if kind is None or not (kind.is_floating or kind.is_integer):
        got = "the schema has no such column" if kind is None else "it is text in the schema"
        raise DataError(f"weight {column!r}: {got}; expected a column of numbers of at least 0 (type: INT or FLOAT)")
    rows = {}
    for split in artifact_utils.decode_split_names(examples[0].split_names):
        files = raw_examples.split_files(examples, split)
        batches, count = [np.zeros(0)], 0
        for records, columns in raw_examples.cells_in_records(files, {column: kind}):
            cells = columns[column]
            if int(cells.dense_shape[1]) > 1:
                raise DataError(f"weight {column!r}: some rows of {split} have several values; expected one")
            batches.append(cells.values.numpy().astype(np.float64))
            count += len(records)
        rows[split] = _checked(column, split, np.concatenate(batches), count)
    return rows


def _checked(column: str, split: str, weights: NDArray, rows: int) -> tuple[int, float]:
    """Return the rows that count, and the effective number of them."""
    present = weights[~np.isnan(weights)]
    absent, wrong = rows - len(present), present[~np.isfinite(present) | (present < 0)]
    if absent:
        raise DataError(
            f"weight {column!r}: {absent} of {rows} rows of {split} have no weight; expected a number of at least 0 in "
            "every row. Fix the data; rows of weight 0 do not count"
        )
    if len(wrong):
        raise DataError(
            f"weight {column!r}: {len(wrong)} of {rows} rows of {split} have a weight such as {wrong[0]:g}; expected "
            "finite numbers of at least 0. Fix the data; rows of weight 0 do not count"
        )
    counted = present[present > 0]
    if not len(counted):
        raise DataError(
            f"weight {column!r}: all {rows} rows of {split} have the weight 0, so none counts; fix the data"
        )
    effective = effective_rows(counted)
    if len(counted) >= _FEW and effective < 2:
        raise DataError(
            f"weight {column!r}: one of {len(counted)} rows of {split} has the weight {counted.max():g}, more than all "
            f"others together (their median is {np.median(counted):g}), so the rows tell as much as {effective:.1f} of "
            "equal weight. Fix that weight, or set it to 0"
        )
    return len(counted), effective
