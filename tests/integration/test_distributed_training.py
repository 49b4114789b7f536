"""A Keras member trained in two processes is the member that one process trains with the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.train import kinds, member
from benison.components.train.fitting import Task
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows, FileRows
from benison.serving.errors import UsageError
from tests.integration.conftest import Project

MODELS = """
from keras import layers, regularizers


def deep(inputs, hp):
    kernel = regularizers.L2(hp.get("l2"))
    return layers.Dense(16, activation="relu", kernel_regularizer=kernel)(layers.Concatenate()(list(inputs.values())))
"""


def rows(count: int, seed: int) -> ArrayRows:
    x = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    weights = np.random.default_rng(seed).uniform(0.5, 2, count).astype(np.float32)
    return ArrayRows({"x": x[:, :3], "y": x[:, 3:]}, (x.sum(axis=1) > 0).astype(np.int64), None, weights)


def fitted(folder: Path, processes: int, learn: ArrayRows, stop: ArrayRows | int, **hyperparameters: float) -> Any:
    import keras_tuner
    import tensorflow as tf

    (folder / "models.py").write_text(MODELS)
    hp = keras_tuner.HyperParameters()
    for name, value in {"l2": 0.01, "learning_rate": 0.01, **hyperparameters}.items():
        hp.Fixed(name, value)
    recipe = Recipe(f"{folder / 'models.py'}:deep", "binary", 32, 2, 7, epochs=1, distribute=processes, name="deep")
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32), "y": tf.io.FixedLenFeature([2], tf.float32)}
    return kinds.fitter(Task(recipe, hp, spec, 2)).fit(learn, stop)


@pytest.mark.filterwarnings("ignore")  # Keras's own
def test_two_processes_train_the_member_that_one_trains(tmp_path: Path) -> None:
    learn, stop = rows(321, 0), rows(100, 1)  # the last batch has one row: one process has none
    one, two = (fitted(tmp_path, processes, learn, stop) for processes in (1, 2))
    for name, losses in one.history.metrics.items():
        assert two.history.metrics[name] == pytest.approx(losses, abs=1e-5)
    assert one.history.best == two.history.best == 0
    weights = zip(one.tracked[0].get_weights(), two.tracked[0].get_weights(), strict=True)
    assert max(float(np.abs(a - b).max()) for a, b in weights) < 1e-5
    assert np.abs(one.predict(stop.features).numpy() - two.predict(stop.features).numpy()).max() < 1e-5


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # Keras's own
def test_a_training_in_two_processes_that_diverges_ends_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"member deep: the (loss|weight) .*epoch 1 \(learning rate 1e\+38\)"):
        fitted(tmp_path, 2, rows(64, 0), 2, learning_rate=1e38)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore")  # Keras's own
def test_rows_in_files_are_learnt_in_the_same_batches(pushed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras_tuner
    import tensorflow_transform as tft

    outputs = {node["id"]: node["outputs"] for node in pushed.last_run()["nodes"]}
    transform = tft.TFTransformOutput(outputs["Transform"]["transform_graph"][0]["uri"])
    examples = Path(outputs["Transform"]["transformed_examples"][0]["uri"])
    learn, stop = (FileRows([str(examples / f"Split-{split}" / "*")], transform) for split in ("train", "valid"))
    monkeypatch.setattr(member, "CACHED_BYTES", 0)
    hp = keras_tuner.HyperParameters()
    for name, value in {"units": 16, "dropout": 0.0, "learning_rate": 0.01}.items():
        hp.Fixed(name, value)
    one, two = (
        kinds.fitter(
            Task(
                Recipe(f"{pushed.models}:deep", "multiclass", 32, 2, 7, epochs=1, distribute=processes, name="deep"),
                hp,
                member.feature_spec(transform),
                3,
            )
        ).fit(learn, stop)
        for processes in (1, 2)
    )
    weights = zip(one.tracked[0].get_weights(), two.tracked[0].get_weights(), strict=True)
    assert max(float(np.abs(a - b).max()) for a, b in weights) < 1e-5
    assert two.history.metrics["val_loss"] == pytest.approx(one.history.metrics["val_loss"], abs=1e-5)
