"""A regression is learnt whatever the unit of its label is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benison.components.train import member

MODELS = """
from keras import layers


def linear(inputs, hp):
    return layers.Concatenate()(list(inputs.values()))
"""


@pytest.mark.parametrize("unit", [1e-25, 1e-6, 1.0, 1e25])
def test_a_regression_is_learnt_in_every_unit_of_its_label(tmp_path: Path, unit: float) -> None:
    import keras
    import keras_tuner

    (tmp_path / "models.py").write_text(MODELS)
    recipe = member.Recipe(f"{tmp_path / 'models.py'}:linear", "regression", batch_size=64, patience=1, seed=7)
    keras.utils.set_random_seed(7)
    hp = keras_tuner.HyperParameters()
    hp.Fixed("learning_rate", 0.1)
    x = np.random.default_rng(3).normal(size=(256, 1)).astype("float32")
    y = (unit * (5 + 2 * x[:, 0])).astype("float32")
    deviation = float(y.std(dtype=np.float64))
    target = member.TargetScale(float(y.mean(dtype=np.float64)), deviation)
    model = member.build_model(recipe, hp, {"x": tf.io.FixedLenFeature([1], tf.float32)}, 0, target)
    model.fit(tf.data.Dataset.from_tensor_slices(({"x": x}, y)).batch(64), epochs=30, verbose=0, shuffle=False)
    predicted = np.asarray(model({"x": x}))[:, 0].astype(np.float64)
    assert np.abs(predicted - y).max() < 0.1 * deviation
