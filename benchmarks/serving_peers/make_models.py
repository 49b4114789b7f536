"""Make three small Keras members over 20 numbers and 5 strings, and their ensemble: `python make_models.py FOLDER`.

They have the structure of Benison's own models: each member contains the preprocessing, the ensemble contains it once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = [f"n{index:02d}" for index in range(20)]
TEXTS = [f"s{index}" for index in range(5)]
WORDS = [f"word{index}" for index in range(20)]
MEMBERS: dict[str, list[int]] = {"wide": [], "deep": [32, 16], "cross": [24]}  # hidden units


def main(folder: Path) -> None:
    """Write FOLDER/NAME/1 for every member and for `ensemble`."""
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    norm = keras.layers.Normalization(mean=np.arange(20.0) / 10, variance=1 + np.arange(20) / 20)
    lookups = {name: keras.layers.StringLookup(vocabulary=WORDS, output_mode="one_hot") for name in TEXTS}

    def transform(inputs: dict[str, Any]) -> Any:
        numbers = tf.stack([inputs[name] for name in NUMBERS], axis=1)
        numbers = norm(tf.where(tf.math.is_nan(numbers), tf.zeros_like(numbers), numbers))
        return tf.concat([numbers, *(tf.cast(lookups[name](inputs[name]), tf.float32) for name in TEXTS)], axis=1)

    example = {**{name: tf.zeros([1]) for name in NUMBERS}, **{name: tf.constant(["a"]) for name in TEXTS}}
    width = transform(example).shape[1]
    for layer in (norm, *lookups.values()):
        layer.built = True
    models = {name: _network(width, units) for name, units in MEMBERS.items()}

    def member(model: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda inputs: {"probabilities": model(transform(inputs))}

    def ensemble(inputs: dict[str, Any]) -> Any:
        transformed = transform(inputs)
        return {"probabilities": tf.reduce_mean(tf.stack([model(transformed) for model in models.values()]), axis=0)}

    specs = {name: tf.TensorSpec([None], spec.dtype, name=name) for name, spec in example.items()}
    for name, model in models.items():
        _export(folder / name / "1", member(model), specs, [model, norm, *lookups.values()])
    _export(folder / "ensemble" / "1", ensemble, specs, [*models.values(), norm, *lookups.values()])


def _network(width: int, hidden: list[int]) -> Any:
    import keras

    start = last = keras.Input((width,))
    for units in hidden:
        last = keras.layers.Dense(units, activation="relu")(last)
    return keras.Model(start, keras.layers.Dense(3, activation="softmax")(last))


def _export(folder: Path, function: Callable[..., Any], specs: dict[str, Any], tracked: list[Any]) -> None:
    import keras

    archive = keras.export.ExportArchive()
    for resource in tracked:
        archive.track(resource)
    archive.add_endpoint("serving_default", function, [specs])
    archive.write_out(str(folder), verbose=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
