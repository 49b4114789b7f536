"""Members of kind `linear` have the solution of scikit-learn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benison.components.train import out_of_fold
from benison.components.train.fitting import Task
from benison.components.train.linear.fitter import LinearFitter
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows
from benison.serving.errors import UsageError

CLASSES = {"binary": 2, "multiclass": 3, "regression": 0}


def fitter(problem: str, rows: ArrayRows, l2: float = 1, **settings: Any) -> LinearFitter:
    import tensorflow as tf

    spec = {
        name: tf.io.FixedLenFeature(list(values.shape[1:]), tf.as_dtype(values.dtype))
        for name, values in rows.features.items()
    }
    recipe = Recipe("", problem, 1, patience=1, seed=3, kind="linear", name="linear", **settings)
    return LinearFitter(Task(recipe, SimpleNamespace(values={"l2": l2}), spec, CLASSES[problem]))


def labelled(problem: str, rows: int = 400, seed: int = 0, weighted: bool = False) -> ArrayRows:
    """Numbers of different size, one of them constant, and an id that is a number."""
    random = np.random.default_rng(seed)
    numbers = (random.normal(size=(rows, 4)) * [1, 100, 0, 0.01] + [0, 5000, 1, 0]).astype(np.float32)
    count = random.integers(0, 9, (rows, 1))
    features: dict[str, Any] = {"numbers": numbers, "count": count}
    effect = numbers[:, 0] + (numbers[:, 1] - 5000) / 100 + count[:, 0] / 4 + random.normal(size=rows)
    targets = {
        "regression": (1e6 + 1000 * effect).astype(np.float32),
        "binary": (effect > 1).astype(np.int64),
        "multiclass": np.digitize(effect, [0, 1]),
    }[problem]
    weights = random.choice([0.5, 4.0], rows).astype(np.float32) if weighted else None
    return ArrayRows(features, np.asarray(targets), weights=weights)


def answers(fitted: Any, rows: ArrayRows) -> np.ndarray:
    return out_of_fold.answer(fitted.predict, rows)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [1, 30])
@pytest.mark.parametrize("problem", CLASSES)
def test_the_solution_is_that_of_scikit_learn(problem: str, l2: float, weighted: bool) -> None:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    learn, other = labelled(problem, weighted=weighted), labelled(problem, seed=1)
    # Scaled, because scikit-learn does not reach the solution for features of such different sizes.
    scaler = StandardScaler().fit(np.hstack([*learn.features.values()]))
    learn, other = (
        ArrayRows({"x": scaler.transform(np.hstack([*rows.features.values()])).astype(np.float32)}, rows.targets, weights=rows.weights)
        for rows in (learn, other)
    )  # fmt: skip
    weights = None if learn.weights is None else learn.weights / learn.weights.mean()
    expected: Any
    if problem == "regression":
        expected = Ridge(l2).fit(learn.features["x"].astype(float), learn.targets.astype(float), weights)
        answer = expected.predict(other.features["x"])[:, None]
    else:
        expected = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000)
        answer = expected.fit(learn.features["x"], learn.targets, weights).predict_proba(other.features["x"])
    fitted = fitter(problem, learn, l2).fit(learn, 1)
    assert answers(fitted, other) == pytest.approx(answer, rel=1e-5, abs=2e-4)
    if problem == "regression":
        assert fitted.history is None, "it is solved without steps"
    else:
        losses = fitted.history.metrics["loss"]
        assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("rows", [300, 30])  # more and fewer rows than features
@pytest.mark.parametrize("problem", CLASSES)
def test_sparse_features_have_the_same_solution(problem: str, rows: int) -> None:
    """Two tables of equal content; in one of them no value is exactly 0."""
    random = np.random.default_rng(5)
    categories = np.eye(50, dtype=np.float32)[random.integers(0, 50, 2 * rows)]
    plain = labelled(problem, 2 * rows, weighted=True)
    both = []
    for extra in (categories, categories + np.float32(1e-30)):
        all_rows = ArrayRows(
            {"number": plain.features["numbers"], "one_hot": extra}, plain.targets, None, plain.weights
        )
        learn, other = all_rows.select(np.arange(rows)), all_rows.select(np.arange(rows, 2 * rows))
        both.append(answers(fitter(problem, learn).fit(learn, 1), other))
    scale = np.abs(both[0]).max()
    assert both[0] / scale == pytest.approx(both[1] / scale, abs=2e-4)


@pytest.mark.parametrize("l2", [0.01, 1, 100])
def test_many_features_have_the_solution_of_ridge_regression(l2: float) -> None:
    from sklearn.linear_model import Ridge

    random = np.random.default_rng(6)
    ids = random.integers(0, 500, (400, 6))
    one_hot = np.hstack([np.eye(500, dtype=np.float32)[column] for column in ids.T])
    targets = (10 + (ids % 7).sum(axis=1) + random.normal(size=400)).astype(np.float32)
    learn, other = (ArrayRows({"x": one_hot[part]}, targets[part]) for part in (slice(300), slice(300, None)))
    deviation = learn.targets.std()  # the penalty is that of a label of deviation 1, which does not change the solution
    expected = Ridge(l2).fit(learn.features["x"].astype(float), learn.targets / deviation)
    got = answers(fitter("regression", learn, l2).fit(learn, 1), other)
    assert got[:, 0] == pytest.approx(expected.predict(other.features["x"]) * deviation, abs=1e-3)


@pytest.mark.parametrize("problem", CLASSES)
def test_features_of_any_size_are_learnt(problem: str) -> None:
    learn, other = labelled(problem), labelled(problem, seed=1)
    got = answers(fitter(problem, learn).fit(learn, 1), other)
    if problem == "regression":
        assert np.sqrt(np.mean((got[:, 0] - other.targets) ** 2)) < 1200  # the noise is 1000
    else:
        assert np.mean(got.argmax(axis=1) == other.targets) > 0.6


@pytest.mark.parametrize("size", [1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("problem", CLASSES)
def test_a_tiny_feature_takes_nothing_from_the_others(problem: str, size: float) -> None:
    learn, other = labelled(problem), labelled(problem, seed=1)
    for rows in (learn, other):
        rows.features["numbers"][:, 0] *= size
    got = answers(fitter(problem, learn).fit(learn, 1), other)
    for rows in (learn, other):
        rows.features["numbers"][:, 0] = 0
    without = answers(fitter(problem, learn).fit(learn, 1), other)
    assert got / without.max() == pytest.approx(without / without.max(), abs=0.002)


def test_probabilities_are_corrected_for_class_weights() -> None:
    learn = labelled("binary", 4000)
    plain, weighted = (
        answers(fitter("binary", learn, imbalance=method).fit(learn, 1), learn)[:, 1].mean()
        for method in ("none", "class_weight")
    )
    assert weighted == pytest.approx(plain, abs=0.02)


def test_the_rows_that_tell_others_when_to_stop_are_learnt_too() -> None:
    learn = labelled("regression", 100)
    whole, _ = out_of_fold.fit(fitter("regression", learn), learn, 5, 0, "linear")
    fold, _ = out_of_fold.assign(learn, 5, 0)
    without = fitter("regression", learn).fit(learn.select(fold != 2), 1)
    assert whole.answers[fold == 2] == pytest.approx(answers(without, learn.select(fold == 2)))


def test_features_that_are_no_finite_numbers_are_refused() -> None:
    rows = labelled("binary")
    rows.features["numbers"][7, 1] = np.nan
    with pytest.raises(UsageError, match="member linear: the feature 'numbers' is NaN or infinite in 1 of 400 rows"):
        fitter("binary", rows).fit(rows, 1)
    texts = ArrayRows({"word": np.array([["a"], ["b"]], object)}, np.array([0, 1]))
    with pytest.raises(UsageError, match="member linear: the feature 'word' is text; expected numbers"):
        fitter("binary", texts)
