"""A Keras member learns the same from files whether their rows fit in memory or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from benison.components.train import member
from benison.components.train.fitting import Task
from benison.components.train.keras_member import KerasFitter
from benison.components.train.rows import FileRows
from benison.components.transform import LABEL

SPEC = {"x": tf.io.FixedLenFeature([2], tf.float32)}
MODELS = """
import keras

def linear(inputs, hp):
    return keras.layers.Dense(1)(inputs["x"])
"""


class Transform:
    """Stand in for TFT's reader of a graph."""

    def transformed_feature_spec(self) -> dict[str, Any]:
        return {**SPEC, LABEL: tf.io.FixedLenFeature([], tf.int64)}


def write(path: Path, rows: int, seed: int) -> FileRows:
    """Write rows of two classes that a line separates; the last has no label."""
    x = np.random.default_rng(seed).normal(size=(rows, 2)).astype(np.float32)
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for row, values in enumerate(x):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.extend(values)
            example.features.feature[LABEL].int64_list.value.append(int(values.sum() > 0) if row < rows - 1 else -1)
            writer.write(example.SerializeToString())
    return FileRows([str(path)], Transform())


@pytest.mark.filterwarnings("ignore")  # Keras's own: of files whose rows it has not counted yet, and about NumPy
@pytest.mark.parametrize("bytes_in_memory", [member.CACHED_BYTES, 0])
def test_a_member_learns_from_files_and_logs_its_losses_for_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_in_memory: int
) -> None:
    monkeypatch.setattr(member, "CACHED_BYTES", bytes_in_memory)
    (tmp_path / "models.py").write_text(MODELS)
    recipe = member.Recipe(f"{tmp_path / 'models.py'}:linear", "binary", batch_size=16, patience=3, seed=7, epochs=8)
    hp = keras_tuner.HyperParameters()
    hp.Fixed("learning_rate", 0.05)
    logs = tmp_path / "logs"
    fitter = KerasFitter(Task(recipe, hp, SPEC, 2, str(logs)))
    fitted = fitter.fit(write(tmp_path / "train.gz", 300, 0), write(tmp_path / "valid.gz", 60, 1))
    answers = np.asarray(fitted.predict({"x": tf.constant([[2.0, 2.0], [-2.0, -2.0]])}))
    assert answers[0, 1] > 0.9 > 0.1 > answers[1, 1]
    fitted.history.write_events(logs)
    losses = {folder.name: sorted(folder.glob("events*")) for folder in logs.iterdir()}
    assert set(losses) == {"train", "validation"}
    for (events,) in losses.values():
        tags = {
            value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value
        }
        assert "epoch_loss" in tags
