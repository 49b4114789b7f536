"""Members of kind `trees`, from rows to answers in TensorFlow operations."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benison.components.train import out_of_fold
from benison.components.train.fitting import Task
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows
from benison.components.train.trees.fitter import TreesFitter
from benison.serving.errors import UsageError


def task(problem: str, classes: int, rows: ArrayRows, **settings: Any) -> Task:
    import tensorflow as tf

    hyperparameters = settings.pop("hyperparameters", {"trees": 60})
    recipe = Recipe("", problem, 1, patience=20, seed=3, kind="trees", name="trees", **settings)
    spec = {
        name: tf.io.FixedLenFeature(list(values.shape[1:]), tf.as_dtype(values.dtype))
        for name, values in rows.features.items()
    }
    return Task(recipe, SimpleNamespace(values=hyperparameters), spec, classes)


def table(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Numbers with missing cells, a category of few values, and one of 600."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(rows, 3)).astype(np.float32)
    numbers[generator.random((rows, 3)) < 0.1] = np.nan
    ids = np.stack([generator.integers(0, 5, rows), generator.integers(0, 600, rows)], axis=1)
    return {"numbers": numbers, "ids": ids}


def values(features: Mapping[str, np.ndarray]) -> np.ndarray:
    effect = np.random.default_rng(5).normal(size=600)
    numbers = np.nan_to_num(features["numbers"], nan=2.0)
    return numbers[:, 0] + 2 * (features["ids"][:, 0] == 3) + effect[features["ids"][:, 1]]


def labelled(problem: str, rows: int, seed: int) -> ArrayRows:
    features = table(rows, seed)
    label = values(features)
    targets = {
        "regression": (1e9 + 1000 * label).astype(np.float32),
        "binary": (label > 1).astype(np.int64),
        "multiclass": np.digitize(label, [0, 1]),
    }[problem]
    return ArrayRows(features, np.asarray(targets))


def answers(fitted: Any, rows: ArrayRows) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(fitted.predict({name: tf.constant(v) for name, v in rows.features.items()}))


@pytest.mark.parametrize(("problem", "classes"), [("binary", 2), ("multiclass", 3), ("regression", 0)])
def test_trees_learn_from_numbers_few_and_many_values(problem, classes):
    learn, stop, other = (labelled(problem, rows, seed) for rows, seed in ((4000, 0), (500, 1), (500, 2)))
    fitted = TreesFitter(task(problem, classes, learn, hyperparameters={"trees": 200})).fit(learn, stop)
    got = answers(fitted, other)
    if problem == "regression":
        spread = (other.targets.astype(float) - other.targets.mean()).std()
        assert np.sqrt(((got[:, 0].astype(float) - other.targets) ** 2).mean()) < 0.6 * spread
    else:
        assert np.allclose(got.sum(axis=1), 1, atol=1e-5)
        assert (got.argmax(axis=1) == other.targets).mean() > {"binary": 0.8, "multiclass": 0.7}[problem]
    assert 1 <= fitted.rounds <= 200
    assert fitted.history.unit == "tree"
    assert fitted.history.best == fitted.rounds - 1 == int(np.argmin(fitted.history.metrics["val_loss"]))
    assert fitted.history.metrics["loss"][-1] < fitted.history.metrics["loss"][0]
    assert sum(fitted.importances.values()) == pytest.approx(1)
    assert set(fitted.importances) == {"numbers[0]", "numbers[1]", "numbers[2]", "ids[0]", "ids[1]"}
    assert min(fitted.importances["ids[1]"], fitted.importances["numbers[0]"]) > 0.1


def test_the_same_rows_and_seed_give_the_same_trees_and_the_rounds_can_be_fixed():
    learn, stop = labelled("binary", 800, 0), labelled("binary", 300, 1)
    fitter = TreesFitter(task("binary", 2, learn))
    first = fitter.fit(learn, stop)
    expected = answers(first, stop)
    assert np.array_equal(answers(fitter.fit(learn, stop), stop), expected)
    assert fitter.fit(learn, 7).rounds == 7


@pytest.mark.parametrize(("problem", "classes"), [("binary", 2), ("multiclass", 3), ("regression", 0)])
def test_the_rounds_of_early_stopping_give_the_model_of_early_stopping(problem, classes):
    """CatBoost chooses some parameters by the number of trees; then the last training would make another model."""
    learn, stop = labelled(problem, 800, 0), labelled(problem, 300, 1)
    fitter = TreesFitter(task(problem, classes, learn, hyperparameters={"trees": 400, "learning_rate": 0.3}))
    stopped = fitter.fit(learn, stop)
    assert stopped.rounds < 200
    assert np.array_equal(answers(fitter.fit(learn, stopped.rounds), stop), answers(stopped, stop))


def test_a_few_trees_answer_rare_classes_with_their_frequency():
    learn = labelled("binary", 4000, 0)
    rare = ArrayRows(learn.features, (values(learn.features) > 4.5).astype(np.int64))
    assert 0.005 < rare.targets.mean() < 0.05
    got = answers(TreesFitter(task("binary", 2, rare)).fit(rare, 5), rare)
    assert got[:, 1].mean() == pytest.approx(rare.targets.mean(), rel=0.5)  # not near one half


@pytest.mark.parametrize("method", ["class_weight", "undersample"])
def test_probabilities_are_corrected_for_the_weights_of_rare_classes(method):
    learn = labelled("binary", 6000, 0)
    rare = ArrayRows(learn.features, (values(learn.features) > 3).astype(np.int64))
    fitted = TreesFitter(task("binary", 2, rare, imbalance=method, hyperparameters={"trees": 40})).fit(rare, 40)
    assert rare.targets.mean() < 0.1
    assert answers(fitted, rare)[:, 1].mean() == pytest.approx(rare.targets.mean(), rel=0.5)  # else above 0.2


@pytest.mark.parametrize(("problem", "classes"), [("binary", 2), ("multiclass", 3), ("regression", 0)])
@pytest.mark.parametrize("same", ["labels", "features"])
def test_rows_without_anything_to_learn_give_a_constant_answer(problem, classes, same):
    learn = labelled(problem, 50, 0)
    if same == "labels":
        learn = ArrayRows(learn.features, np.full_like(learn.targets, 1))
    else:
        first = {name: np.repeat(v[:1], len(v), axis=0) for name, v in learn.features.items()}
        learn = ArrayRows(first, learn.targets)
    got = answers(TreesFitter(task(problem, classes, learn)).fit(learn, learn), learn)
    assert np.allclose(got, got[0], rtol=0, atol=1e-6)  # softmax rounds the rows of a vector differently
    if problem == "regression":
        assert got[0, 0] == pytest.approx(float(learn.targets.astype(float).mean()))
    else:
        shares = np.bincount(learn.targets, minlength=classes) / len(learn)
        assert np.abs(got[0] - shares).max() < 0.05


def test_a_class_without_rows_in_train_has_a_probability_too():
    learn = labelled("multiclass", 300, 0)
    learn = ArrayRows(learn.features, np.where(learn.targets == 1, 2, learn.targets))
    got = answers(TreesFitter(task("multiclass", 3, learn)).fit(learn, learn), learn)
    assert got.shape == (300, 3)
    assert got[:, 1].max() < 0.1


def test_features_that_trees_cannot_take_are_refused_by_name():
    rows = labelled("binary", 10, 0)
    text = ArrayRows({"words": np.array([["a"]] * 10, object)}, rows.targets)
    with pytest.raises(UsageError, match="feature 'words' of the trees is string, expected numbers, or int64 ids"):
        TreesFitter(task("binary", 2, text))
    with pytest.raises(UsageError, match="no features for trees; return a dict of features with the key 'trees'"):
        TreesFitter(task("binary", 2, ArrayRows({}, rows.targets)))
    large = ArrayRows({"ids": np.full((10, 1), 2_000_000)}, rows.targets)
    with pytest.raises(UsageError, match="got the id 2000000, expected ids of at most 1000000"):
        TreesFitter(task("binary", 2, large)).fit(large, 5)


def test_trees_learn_in_folds_and_then_from_all_rows():
    rows = labelled("multiclass", 600, 0)
    fitter = TreesFitter(task("multiclass", 3, rows))
    predictions, rounds = out_of_fold.fit(fitter, rows, folds=3, seed=1, name="trees")
    assert predictions.answers.shape == (600, 3)
    assert fitter.fit(rows, rounds).rounds == rounds
