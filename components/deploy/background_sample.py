"""Chooses the rows of `train` that a version keeps, see `benison.serving.explanations.background`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benison.components import raw_examples
from benison.components.evaluate.raw_rows import raw_rows
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
    spec = {name: feature for name, feature in raw_examples.input_spec(transform).items() if name != label}
    arguments = missing_values.arguments(missing_values.read_inputs(model) or {})
    background.write(file, raw_rows(sample(files, rows, seed), spec, arguments))


def sample(files: Sequence[str], rows: int, seed: int) -> NDArray:
    """Choose serialised tf.Examples [rows] at random, in their order; each row is as likely as any other."""
    import tensorflow as tf

    random = np.random.default_rng(seed)
    keys, chosen = np.zeros(0), np.zeros(0, object)
    records = tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(_MOST_SEEN).batch(_BATCH_ROWS)
    for batch in records.as_numpy_iterator():
        keys, chosen = np.concatenate([keys, random.random(len(batch))]), np.concatenate([chosen, batch])
        kept = np.sort(np.argsort(keys, kind="stable")[:rows])
        keys, chosen = keys[kept], chosen[kept]
    return chosen
