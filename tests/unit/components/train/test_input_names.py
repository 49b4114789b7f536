"""Transformed features may have any name: those that Keras refuses, or that it gives its own layers, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components.train import member

MODELS = """
import keras
from keras import layers


def hidden(inputs, hp):
    return layers.Dense(2)(layers.Concatenate()(list(inputs.values()))) + 1.0


def answer(inputs):
    return layers.Dense(2, activation="softmax")(layers.Dense(2)(layers.Concatenate()(list(inputs.values()))))


def by_name(inputs, hp):
    return keras.Model(inputs, answer(inputs))


def in_a_list(inputs, hp):
    return keras.Model(list(inputs.values()), answer(inputs))
"""
NAMES = (
    *("a/b", "add", "add_1", "dense", "dense_1", "concatenate", "probabilities", "prediction", "class", "self", "a b"),
    *("größe", "1st", "a,b", " lead", "numbers", "feature 1", "x\\y", "{x}", "%s", "examples", "input", "x" * 300),
)


@pytest.mark.parametrize("function", ["hidden", "by_name", "in_a_list"])
def test_a_member_learns_from_features_of_any_name(tmp_path: Path, function: str) -> None:
    import keras_tuner

    (tmp_path / "models.py").write_text(MODELS)
    recipe = member.Recipe(f"{tmp_path / 'models.py'}:{function}", "binary", batch_size=8, patience=1, seed=7)
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in NAMES}
    model = member.build_model(recipe, keras_tuner.HyperParameters(), spec, 2)
    generator = np.random.default_rng(3)
    rows: dict[str, Any] = {name: generator.normal(size=(32, 1)).astype("float32") for name in NAMES}
    before = np.asarray(model(dict(rows)))
    shuffled = {name: rows[name] for name in sorted(rows)}
    np.testing.assert_array_equal(np.asarray(model(shuffled)), before)
    for name in NAMES:  # every feature arrives at its own input
        changed = np.asarray(model({**rows, name: rows[name] + 1.0}))
        assert not np.array_equal(changed, before), name
    labelled = tf.data.Dataset.from_tensor_slices((rows, (rows["add"][:, 0] > 0).astype("int64"))).batch(8)
    model.fit(labelled, epochs=1, verbose=0, shuffle=False)
    assert not np.array_equal(np.asarray(model(rows)), before)
