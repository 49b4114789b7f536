"""Each row is answered by a member that did not learn from it, and did not stop by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components.groups import NO_GROUP
from benison.components.train import member, out_of_fold
from benison.components.train.fitting import Fitted, Task
from benison.components.train.keras_member import KerasFitter
from benison.components.train.rows import ArrayRows, Rows
from benison.serving.errors import DataError

MODELS = """
import keras
from keras import layers


def deep(inputs, hp):
    hidden = layers.Dense(8, activation="relu")(layers.Concatenate()(list(inputs.values())))
    return layers.Dropout(0.1)(layers.BatchNormalization()(hidden))


class Stubborn(keras.Model):
    def train_step(self, data):
        return {"loss": keras.ops.mean(data[1]) * 0.0}


def stubborn(inputs, hp):
    return Stubborn(inputs, layers.Dense(2, activation="softmax")(inputs["x"]))


def compiled(inputs, hp):
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", kernel_initializer="zeros")(inputs["x"]))
    model.compile(keras.optimizers.SGD(0.0), loss="sparse_categorical_crossentropy")
    return model
"""


def table(rows: int, seed: int = 0, classes: int = 3) -> ArrayRows:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 4)).astype(np.float32)
    return ArrayRows({"row": np.arange(rows)[:, None], "x": x}, random.integers(0, classes, rows))


class Recorder:
    """A Fitter that remembers what it was given, and answers with the labels that it learnt."""

    needs_stop = True

    def __init__(self, rounds: list[int]) -> None:
        self.seen: list[tuple[set[int], set[int]]] = []
        self._rounds = iter(rounds)

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        assert isinstance(learn, ArrayRows)
        assert isinstance(stop, ArrayRows)
        self.seen.append((set(learn.features["row"].ravel()), set(stop.features["row"].ravel())))
        number = len(self.seen) - 1

        def predict(features: Mapping[str, Any]) -> Any:
            return tf.fill([len(features["row"]), 3], float(number))

        return Fitted(predict, next(self._rounds))


def test_a_row_is_answered_by_the_one_member_that_neither_learnt_from_it_nor_stopped_by_it() -> None:
    rows, fitter = table(200), Recorder([3, 9, 4, 5, 100])
    predictions, rounds = out_of_fold.fit(fitter, rows, 5, seed=1, name="deep")
    assert rounds == 5
    assert np.array_equal(predictions.labels, rows.targets)
    for row, answered_by in enumerate(predictions.answers[:, 0].astype(int)):
        for number, (learnt, stopped) in enumerate(fitter.seen):
            assert (row in learnt) + (row in stopped) == (number != answered_by)
    assert all(15 <= len(stopped) <= 50 for _, stopped in fitter.seen)


def test_folds_and_the_rows_to_stop_by_have_the_shares_of_the_classes() -> None:
    rows = ArrayRows({"x": np.random.default_rng(0).normal(size=(1000, 1))}, (np.arange(1000) % 20 == 0).astype(int))
    fold, stops = out_of_fold.assign(rows, 5, seed=2)
    for number in range(5):
        assert rows.targets[fold == number].sum() == 10
        assert 1 <= rows.targets[stops[:, number]].sum() <= 12
    again, _ = out_of_fold.assign(rows, 5, seed=2)
    assert np.array_equal(fold, again)


def test_copies_of_a_row_are_on_one_side() -> None:
    random = np.random.default_rng(3)
    once = {"number": random.normal(size=(150, 2)).astype(np.float32), "text": random.choice(list("abc"), (150, 1))}
    rows = ArrayRows({name: np.tile(values, (2, 1)) for name, values in once.items()}, np.zeros(300, np.int64))
    fold, stops = out_of_fold.assign(rows, 5, seed=0)
    assert np.array_equal(fold[:150], fold[150:])
    assert np.array_equal(stops[:150], stops[150:])


def test_the_rows_of_a_group_are_on_one_side() -> None:
    rows = table(300)
    groups = np.random.default_rng(6).integers(0, 60, 300)
    groups[:20] = NO_GROUP
    fold, stops = out_of_fold.assign(ArrayRows(rows.features, rows.targets, groups), 5, seed=0)
    for group in range(60):
        assert len(set(fold[groups == group])) <= 1
        assert (stops[groups == group] == stops[groups == group][:1]).all()
    assert len(set(fold[:20])) > 1


def test_equal_rows_of_a_few_categories_are_no_copies() -> None:
    random = np.random.default_rng(4)
    rows = ArrayRows({"sex": random.integers(0, 2, (600, 1))}, random.integers(0, 2, 600))
    fold, _ = out_of_fold.assign(rows, 5, seed=0)
    assert np.bincount(fold).tolist() == [120] * 5


def test_too_few_rows_and_answers_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="7 labelled rows to learn from; 5 folds need at least 10"):
        out_of_fold.fit(Recorder([]), table(7), 5, seed=0, name="deep")

    class Broken(Recorder):
        def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
            return Fitted(lambda features: tf.fill([len(features["row"]), 3], float("nan")), 1)

    with pytest.raises(DataError, match="deep: its answer is NaN or infinite in 40 of 40 rows that it did not learn"):
        out_of_fold.fit(Broken([]), table(40), 5, seed=0, name="deep")


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert out_of_fold.OutOfFold.load(tmp_path) is None
    answers = np.random.default_rng(0).random((30, 3)).astype(np.float32)
    written = out_of_fold.OutOfFold(np.arange(30), answers)
    written.save(tmp_path)
    read = out_of_fold.OutOfFold.load(tmp_path)
    assert read is not None
    assert np.array_equal(read.labels, written.labels)
    assert np.array_equal(read.answers, answers)


def keras_fitter(tmp_path: Path, problem: str, imbalance: Any = "none", function: str = "deep") -> KerasFitter:
    import keras_tuner

    (tmp_path / "models.py").write_text(MODELS)
    recipe = member.Recipe(
        f"{tmp_path / 'models.py'}:{function}",
        problem,
        batch_size=32,
        patience=5,
        seed=7,
        epochs=30,
        imbalance=imbalance,
    )
    hp = keras_tuner.HyperParameters()
    hp.Fixed("learning_rate", 0.02)
    spec = {"x": tf.io.FixedLenFeature([4], tf.float32)}
    return KerasFitter(Task(recipe, hp, spec, 0 if problem == "regression" else 2))


def learnable(rows: int, problem: str) -> ArrayRows:
    x = np.random.default_rng(5).normal(size=(rows, 4)).astype(np.float32)
    score = x[:, 0] - 2 * x[:, 1]
    label = (1e6 + 1e5 * score).astype(np.float32) if problem == "regression" else (score > 1.5).astype(np.int64)
    return ArrayRows({"x": x}, label)


@pytest.mark.parametrize(
    ("problem", "imbalance"), [("regression", "none"), ("binary", "class_weight"), ("binary", "undersample")]
)
def test_rows_in_memory_are_learnt_and_a_member_is_the_same_after_other_trainings(
    tmp_path: Path, problem: str, imbalance: str
) -> None:
    rows = learnable(400, problem)
    learn, stop = rows.select(np.arange(300)), rows.select(np.arange(300, 400))
    fitter = keras_fitter(tmp_path, problem, imbalance)
    first = out_of_fold.answer(fitter.fit(learn, stop).predict, stop)
    other = out_of_fold.answer(fitter.fit(stop, 3).predict, stop)
    again = fitter.fit(learn, stop)
    assert np.array_equal(out_of_fold.answer(again.predict, stop), first)
    assert not np.allclose(other, first)
    assert 1 <= again.rounds <= 30
    if problem == "regression":
        assert np.abs(first[:, 0] - stop.targets).mean() < 0.5e5
    else:
        assert ((first[:, 1] > 0.5) == stop.targets).mean() > 0.9
        assert abs(first[:, 1].mean() - stop.targets.mean()) < 0.1  # corrected for the balance


@pytest.mark.parametrize("function", ["stubborn", "compiled"])
def test_a_model_learns_in_its_own_way(tmp_path: Path, function: str) -> None:
    rows = learnable(100, "binary")
    fitter = keras_fitter(tmp_path, "binary", function=function)
    first = out_of_fold.answer(fitter.fit(rows.select(np.arange(80)), rows.select(np.arange(80, 100))).predict, rows)
    second = out_of_fold.answer(fitter.fit(rows, 3).predict, rows)
    assert np.array_equal(first, second)  # these two learn nothing
