"""Chooses the rows of `train` that a version keeps, see `benison.serving.explanations.background`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benison.components import raw_examples
from benison.components.evaluate.raw_rows import random_rows, raw_rows
from benison.serving import missing_values
from benison.serving.explanations import background

if TYPE_CHECKING:
    import tensorflow_transform as tft

_BATCH_ROWS = 4096
_MOST_SEEN = 500_000  # rows: a push does not read more


def write(
    file: Path, files: Sequence[str], transform: tft.TFTransformOutput, label: str, rows: int, seed: int, model: Path
) -> None:
    """Write a random sample of a split.

    Args:
        file: the target.
        files: the split's files, see `benison.components.raw_examples`.
        transform: Transform's output.
        label: name of the raw label, which is no input.
        rows: number of rows; all rows if there are fewer.
        seed: seed of the choice.
        model: the SavedModel, which describes its inputs.
    """
    spec = raw_examples.request_spec(transform, label)
    arguments = missing_values.arguments(missing_values.read_inputs(model) or {})
    background.write(file, raw_rows(sample(files, rows, seed), spec, arguments))


def sample(files: Sequence[str], rows: int, seed: int) -> NDArray:
    """Choose serialised tf.Examples [rows] at random, in their order; each row is as likely as any other."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH_ROWS)
    batches = ([batch] for batch in records.as_numpy_iterator())
    return next(iter(random_rows(batches, rows, seed, _MOST_SEEN)), np.zeros(0, object))
