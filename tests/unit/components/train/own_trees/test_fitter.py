"""Members of kind `trees` with a function of the user, from rows to answers in TensorFlow operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.train import kinds, out_of_fold
from benison.components.train.fitting import Task
from benison.components.train.member import Recipe
from benison.components.train.own_trees.rows import column_names
from benison.components.train.rows import ArrayRows
from benison.serving.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own, about pandas and processors


def boosting(rows: Any, hp: Any) -> Any:
    """Return XGBoost's model with early stopping, or with the rounds that are given."""
    import xgboost

    kind = xgboost.XGBRegressor if rows.problem == "regression" else xgboost.XGBClassifier
    model = kind(
        n_estimators=rows.rounds or hp.get("trees"),
        learning_rate=0.3,
        random_state=rows.seed,
        n_jobs=1,
        early_stopping_rounds=rows.patience if rows.valid else None,
        enable_categorical=True,
        feature_types=["c" if name in rows.categories else "q" for name in rows.features],
    )
    eval_set = [(rows.valid.features, rows.valid.labels)] if rows.valid else None
    return model.fit(rows.features, rows.labels, sample_weight=rows.weights, eval_set=eval_set, verbose=False)


def catboost(rows: Any, hp: Any) -> Any:
    """Return CatBoost's model, with the parameters that it does not choose by the number of trees."""
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=rows.rounds or 1000, random_seed=rows.seed, allow_writing_files=False, verbose=0, **hp.values
    )
    valid = {"eval_set": (rows.valid.features, rows.valid.labels)} if rows.valid else {}
    return model.fit(rows.features, rows.labels, early_stopping_rounds=rows.patience if rows.valid else None, **valid)


def forest(rows: Any, hp: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(5, random_state=rows.seed).fit(rows.features, rows.labels)


def tree(rows: Any, hp: Any) -> Any:
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(max_depth=3, random_state=rows.seed)
    return model.fit(rows.features, rows.labels, sample_weight=rows.weights)


def linear(rows: Any, hp: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(rows.features.fillna(0), rows.labels)


def filling(rows: Any, hp: Any) -> Any:
    rows.features.fillna(100, inplace=True)
    return tree(rows, hp)


def reordering(rows: Any, hp: Any) -> Any:
    first = rows.features.columns[0]
    rows.features[first] = rows.features.pop(first)
    return tree(rows, hp)


def scaling(rows: Any, hp: Any) -> Any:
    rows.valid.labels[:] = 0
    return tree(rows, hp)


def failing(rows: Any, hp: Any) -> Any:
    return rows.features["no such column"]


def another_answer(rows: Any, hp: Any) -> Any:
    """Return a model whose predict is not what its trees say."""
    from sklearn.tree import DecisionTreeClassifier

    class Shifted(DecisionTreeClassifier):
        def predict_proba(self, X: Any) -> Any:
            return super().predict_proba(X) * 0.9

    return Shifted().fit(rows.features, rows.labels)


def rows_of(problem: str, rows: int, seed: int) -> ArrayRows:
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(rows, 2)).astype(np.float32)
    ids = generator.integers(0, 6, (rows, 1))
    value = numbers[:, 0] + 2 * (ids[:, 0] == 3)
    numbers[generator.random((rows, 2)) < 0.1] = np.nan
    targets = {
        "regression": (1e6 + 1000 * value).astype(np.float32),
        "binary": (value > 1).astype(np.int64),
        "multiclass": np.digitize(value, [0, 1]),
    }[problem]
    return ArrayRows({"size (cm)": numbers, "colour": ids}, targets)


def fitter(problem: str, function: str = "boosting", **settings: Any) -> Any:
    import tensorflow as tf

    values = settings.pop("hyperparameters", {"trees": 60})
    settings = {"patience": 5, "seed": 3, **settings}
    reference = function if ":" in function else f"{__file__}:{function}"
    recipe = Recipe(reference, problem, 1, kind="trees", name="mine", **settings)
    spec = {
        "size (cm)": tf.io.FixedLenFeature([2], tf.float32),
        "colour": tf.io.FixedLenFeature([1], tf.int64),
    }
    classes = {"regression": 0, "binary": 2, "multiclass": 3}[problem]
    return kinds.fitter(Task(recipe, Hyperparameters(values), spec, classes))


class Hyperparameters:
    """As KerasTuner's."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values

    def get(self, name: str) -> Any:
        return self.values[name]


def answers(fitted: Any, rows: ArrayRows) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(fitted.predict({name: tf.constant(v) for name, v in rows.features.items()}))


@pytest.mark.parametrize("problem", ["binary", "multiclass", "regression"])
def test_the_function_learns_with_early_stopping_and_for_given_rounds(problem):
    learn, stop, other = (rows_of(problem, rows, seed) for rows, seed in ((800, 0), (200, 1), (300, 2)))
    trained = fitter(problem).fit(learn, stop)
    got = answers(trained, other)
    if problem == "regression":
        assert np.corrcoef(got[:, 0], other.targets)[0, 1] > 0.9
    else:
        assert (got.argmax(axis=1) == other.targets).mean() > 0.8
        assert np.allclose(got.sum(axis=1), 1, atol=1e-5)
    assert trained.rounds < 60
    assert trained.history.best == trained.rounds - 1
    assert int(np.argmin(trained.history.metrics["val_loss"])) == trained.history.best
    assert trained.size.trees >= trained.rounds
    assert set(trained.importances) == {"size (cm)[0]", "size (cm)[1]", "colour"}
    assert sum(trained.importances.values()) == pytest.approx(1)
    assert fitter(problem).fit(learn, 7).rounds == 7


def test_the_function_is_called_for_each_fold_and_for_all_rows():
    rows = rows_of("multiclass", 300, 0)
    mine = fitter("multiclass")
    predictions, rounds = out_of_fold.fit(mine, rows, folds=3, seed=1, name="mine")
    assert (predictions.answers.argmax(axis=1) == rows.targets).mean() > 0.7
    assert mine.fit(rows, rounds).rounds == rounds


@pytest.mark.parametrize(
    ("hyperparameters", "missing"),
    [
        ({}, "learning_rate|leaf_estimation_iterations"),
        ({"learning_rate": 0.3}, "leaf_estimation_iterations"),
        ({"learning_rate": 0.3, "leaf_estimation_iterations": 3}, None),
    ],
)
def test_parameters_that_catboost_chooses_by_the_number_of_trees_must_be_set(hyperparameters, missing):
    learn, stop = rows_of("binary", 800, 0), rows_of("binary", 200, 1)
    mine = fitter("binary", "catboost", hyperparameters=hyperparameters)
    stopped = mine.fit(learn, stop)
    if missing:
        with pytest.raises(UsageError, match=f"catboost.*sets no ({missing}); the library chose"):
            mine.fit(learn, min(stopped.rounds, 20))
    else:
        assert np.array_equal(answers(mine.fit(learn, stopped.rounds), stop), answers(stopped, stop))


def test_the_example_of_the_documentation_learns(tmp_path):
    text = (Path(__file__).parents[5] / "docs" / "ensembles.md").read_text()
    start = text.index("import lightgbm\n")
    (tmp_path / "models.py").write_text(text[start : text.index("```", start)])
    mine = fitter("binary", f"{tmp_path}/models.py:boosting", hyperparameters={"leaves": 7})
    learn, stop = rows_of("binary", 800, 0), rows_of("binary", 200, 1)
    fitted = mine.fit(learn, stop)
    assert (answers(fitted, stop).argmax(axis=1) == stop.targets).mean() > 0.9
    assert mine.fit(learn, 4).size.trees == 4


@pytest.mark.parametrize("method", ["class_weight", "undersample"])
def test_probabilities_are_corrected_for_the_weights_of_rare_classes(method):
    learn = rows_of("binary", 4000, 0)
    rare = ArrayRows(learn.features, (np.nan_to_num(learn.features["size (cm)"][:, 0]) > 1.8).astype(np.int64))
    got = answers(fitter("binary", imbalance=method).fit(rare, 10), rare)[:, 1]
    assert got.mean() == pytest.approx(rare.targets.mean(), rel=0.5)  # else above 0.2


def test_weights_that_the_function_does_not_read_are_refused():
    rows = rows_of("binary", 300, 0)
    forest_of = fitter("binary", "forest", imbalance="class_weight", hyperparameters={})
    with pytest.raises(UsageError, match=r"test_fitter.py, line \d+ \(forest\): never reads rows.weights"):
        forest_of.fit(rows, 5)
    assert fitter("binary", "forest", hyperparameters={}).fit(rows, 5).rounds == 5


def test_a_row_of_a_sample_weight_of_two_counts_as_two_rows():
    rows = rows_of("binary", 400, 0)
    twice = np.arange(400) % 3 == 0
    weighted = ArrayRows(rows.features, rows.targets, weights=np.where(twice, 2.0, 1.0))
    repeated = rows.select(np.repeat(np.arange(400), np.where(twice, 2, 1)))
    first, second, third = (
        answers(fitter("binary", "tree", hyperparameters={}).fit(learn, 1), rows)
        for learn in (weighted, repeated, rows)
    )
    assert np.abs(first - second).max() < 1e-5
    assert np.abs(first - third).max() > 1e-3
    with pytest.raises(UsageError, match=r"\(forest\): never reads rows.weights"):
        fitter("binary", "forest", hyperparameters={}).fit(weighted, 5)


@pytest.mark.parametrize("same", ["labels", "features"])
def test_rows_without_anything_to_learn_give_a_constant_answer(same):
    learn = rows_of("binary", 50, 0)
    if same == "labels":
        learn = ArrayRows(learn.features, np.ones(50, np.int64))
    else:
        learn = ArrayRows({name: np.repeat(v[:1], 50, axis=0) for name, v in learn.features.items()}, learn.targets)
    got = answers(fitter("binary").fit(learn, learn), learn)
    assert np.abs(got - [1 - learn.targets.mean(), learn.targets.mean()]).max() < 0.05


def test_a_class_without_rows_has_a_probability_too():
    learn = rows_of("multiclass", 300, 0)
    learn = ArrayRows(learn.features, np.where(learn.targets == 1, 2, learn.targets))
    got = answers(fitter("multiclass").fit(learn, 10), learn)
    assert got.shape == (300, 3)
    assert got[:, 1].mean() < 0.1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("linear", r"\(linear\): returned LogisticRegression, expected a fitted model of CatBoost, LightGBM"),
        ("failing", r"\(failing\): KeyError: 'no such column'"),
        ("another_answer", r"\(another_answer\): the Shifted cannot be served: its trees answer differently"),
    ],
)
def test_a_mistake_is_told_with_the_users_file_and_line(function, message):
    rows = rows_of("binary", 60, 0)
    with pytest.raises(UsageError, match=rf"{Path(__file__).name}, line \d+ {message}"):
        fitter("binary", function, hyperparameters={}).fit(rows, 5)


@pytest.mark.parametrize(
    ("function", "changed"), [("filling", "features"), ("reordering", "features"), ("scaling", r"valid\.labels")]
)
def test_a_function_that_changes_its_rows_is_refused_and_changes_none_of_benisons(function, changed):
    rows, stop = rows_of("binary", 60, 0), rows_of("binary", 60, 1)
    with pytest.raises(UsageError, match=rf"\({function}\): changes rows\.{changed}, but the served model gets"):
        fitter("binary", function, hyperparameters={}).fit(rows, stop)
    assert np.array_equal(rows.features["size (cm)"], rows_of("binary", 60, 0).features["size (cm)"], equal_nan=True)
    assert np.array_equal(stop.targets, rows_of("binary", 60, 1).targets)


def test_a_hyperparameter_that_the_function_never_reads_is_refused():
    with pytest.raises(UsageError, match=r"never reads the hyperparameter 'tres'; did you mean 'trees'"):
        fitter("binary", hyperparameters={"trees": 5, "sert"[::-1]: 6}).fit(
            rows_of("binary", 60, 0), rows_of("binary", 60, 1)
        )


def test_names_of_columns_are_those_that_all_libraries_take():
    assert column_names(["size (cm)", "a,b", "a b", "a b", "naïve", "[]"]) == [
        "size_cm",
        "a_b",
        "a_b_2",
        "a_b_3",
        "naïve",
        "column",
    ]
