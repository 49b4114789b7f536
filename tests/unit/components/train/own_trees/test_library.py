"""Models of trees of four libraries answer in TensorFlow operations as their own predict does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benison.components.train.own_trees import forest, library
from benison.components.train.own_trees.rows import OwnRows, as_columns
from benison.serving.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries' own, about pandas, processors and their parameters

NUMBERS, CATEGORIES = list("abcde"), ["k", "m"]
CLASSES = {"regression": 0, "binary": 2, "multiclass": 3}
TREES = 8


def table(rows: int, seed: int) -> pd.DataFrame:
    """Numbers with ties, amounts beyond 2 ** 24 and numbers next to 0; ids of 12 and of 40 values."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(rows, 5)).astype(np.float32)
    numbers[:, 1] = generator.integers(-2, 5, rows)
    numbers[:, 2] = (1_600_000_000 + generator.integers(0, 10**8, rows)).astype(np.float32)
    numbers[:, 3] *= np.float32(1e-30)
    ids = np.stack([generator.integers(0, 12, rows), generator.integers(0, 40, rows)], axis=1)
    return pd.DataFrame(numbers, columns=NUMBERS).join(pd.DataFrame(ids, columns=CATEGORIES))


def labelled(problem: str, rows: int = 400, *, missing: bool = True) -> OwnRows:
    features = table(rows, seed=1)
    value = features.a + (features.b > 0) * (features.k % 3) + (features.d > 0) + features.e**2 + np.sin(features.m)
    if missing:
        gaps = np.random.default_rng(2).random((rows, 4)) < 0.1
        features[NUMBERS[:4]] = features[NUMBERS[:4]].mask(gaps)
    labels = {"regression": value.to_numpy(float), "binary": (value > 1.5).to_numpy(int)}.get(problem)
    labels = np.digitize(value, [1, 2.5]) if labels is None else labels
    options: dict[str, Any] = {"problem": problem, "classes": CLASSES[problem], "seed": 3, "patience": 5}
    return OwnRows(features, labels, None, CATEGORIES, **options)


def hard(thresholds: Any = (), *, missing: bool = True, infinite: bool = True, unseen: int = 10_000) -> pd.DataFrame:
    """Rows with NaN, infinities, the smallest numbers, unseen and negative ids, and the thresholds themselves."""
    features = table(2000, seed=7)
    generator = np.random.default_rng(5)
    for number, values in enumerate((0.0, -0.0, 1e-40, -1e-40, *([np.inf, -np.inf] if infinite else []))):
        features.loc[number::50, NUMBERS] = np.float32(values)
    for column, threshold in thresholds:
        where = generator.integers(0, len(features), 3)
        features.loc[where, column] = [
            np.nextafter(np.float32(threshold), np.float32(direction)) for direction in (-1e38, threshold, 1e38)
        ]
    if missing:
        features[NUMBERS] = features[NUMBERS].mask(generator.random((len(features), 5)) < 0.1)
    features.loc[::7, "m"], features.loc[1::7, "k"] = unseen, unseen
    return features


def lightgbm(problem: str, **settings: Any) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if problem == "regression" else lightgbm.LGBMClassifier
    return kind(n_estimators=TREES, min_data_per_group=5, verbose=-1, n_jobs=1, **settings)


def xgboost(problem: str, **settings: Any) -> Any:
    import xgboost

    kind = xgboost.XGBRegressor if problem == "regression" else xgboost.XGBClassifier
    return kind(**{"n_estimators": TREES, "n_jobs": 1, **settings})


def catboost(problem: str, policy: str, **settings: Any) -> Any:
    import catboost

    kind = catboost.CatBoostRegressor if problem == "regression" else catboost.CatBoostClassifier
    settings = {"one_hot_max_size": 255, "iterations": TREES, "thread_count": 1, **settings}
    return kind(grow_policy=policy, allow_writing_files=False, verbose=0, **settings)


def scikit_learn(problem: str, name: str, **settings: Any) -> Any:
    from sklearn import ensemble, tree

    name += "Regressor" if problem == "regression" else "Classifier"
    return getattr(tree if name.startswith("Dec") else ensemble, name)(random_state=1, **settings)


TYPES = ["c" if name in CATEGORIES else "q" for name in (*NUMBERS, *CATEGORIES)]
MODELS: dict[str, tuple[Callable[[str], Any], dict[str, Any]]] = {
    "LightGBM": (lightgbm, {}),
    "LightGBM, categories": (lightgbm, {"categorical_feature": CATEGORIES}),
    "LightGBM, 0 is missing": (lambda p: lightgbm(p, zero_as_missing=True), {}),
    "LightGBM, forest": (lambda p: lightgbm(p, boosting_type="rf", bagging_freq=1, bagging_fraction=0.5), {}),
    "XGBoost": (xgboost, {}),
    "XGBoost, categories": (
        lambda p: xgboost(p, enable_categorical=True, feature_types=TYPES, max_cat_to_onehot=15),
        {},
    ),
    "XGBoost, dart": (lambda p: xgboost(p, booster="dart", rate_drop=0.3), {}),
    "XGBoost, forest": (lambda p: xgboost(p, num_parallel_tree=3, subsample=0.5), {}),
    "CatBoost": (lambda p: catboost(p, "SymmetricTree"), {"cat_features": CATEGORIES}),
    "CatBoost, depthwise": (lambda p: catboost(p, "Depthwise"), {"cat_features": CATEGORIES}),
    "CatBoost, lossguide": (lambda p: catboost(p, "Lossguide"), {"cat_features": CATEGORIES}),
    "HistGradientBoosting": (lambda p: scikit_learn(p, "HistGradientBoosting", max_iter=TREES), {}),
    "HistGradientBoosting, categories": (
        lambda p: scikit_learn(p, "HistGradientBoosting", max_iter=TREES, categorical_features=CATEGORIES),
        {},
    ),
    "RandomForest": (lambda p: scikit_learn(p, "RandomForest", n_estimators=TREES), {}),
    "ExtraTrees": (lambda p: scikit_learn(p, "ExtraTrees", n_estimators=TREES), {}),
    "DecisionTree": (lambda p: scikit_learn(p, "DecisionTree"), {}),
    "GradientBoosting": (lambda p: scikit_learn(p, "GradientBoosting", n_estimators=TREES), {}),
}
WITHOUT_NAN = ("ExtraTrees", "GradientBoosting")


def thresholds_of(model: Any) -> list[tuple[str, float]]:
    """Return the thresholds of a model, each with its column."""
    if hasattr(model, "booster_"):
        frame = model.booster_.trees_to_dataframe()
        frame = frame[frame.decision_type == "<="]
        return list(zip(frame.split_feature, frame.threshold.astype(float), strict=True))
    if hasattr(model, "get_booster"):
        frame = model.get_booster().trees_to_dataframe()
        frame = frame[(frame.Feature != "Leaf") & frame.Split.notna()]
        return list(zip(frame.Feature, frame.Split, strict=True))
    if hasattr(model, "tree_"):
        inner = model.tree_.feature >= 0
        return [
            (model.feature_names_in_[f], t)
            for f, t in zip(model.tree_.feature[inner], model.tree_.threshold[inner], strict=True)
        ]
    if hasattr(model, "_predictors"):
        nodes = np.concatenate([stage[0].nodes for stage in model._predictors])
        nodes = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
        return [
            (NUMBERS[n["feature_idx"]], n["num_threshold"])
            for n in nodes
            if n["feature_idx"] < 5 and model.is_categorical_ is None
        ]
    return []


def difference(model: Any, rows: OwnRows, features: pd.DataFrame) -> float:
    """Return the largest difference to the library's answers, by their scale."""
    import tensorflow as tf

    read = library.read(model, rows)
    got, expected = read.answers(tf.constant(as_columns(features))).numpy(), read.predict(features)
    if rows.problem == "binary":
        got, expected = got[:, -1:], expected[:, -1:]
    assert (
        got.shape == expected.shape == (len(features), max(1, CLASSES[rows.problem] if rows.problem != "binary" else 1))
    )
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("problem", CLASSES)
def test_walked_trees_answer_as_the_library_does(problem, name):
    build, options = MODELS[name]
    rows = labelled(problem, missing=name not in WITHOUT_NAN)
    model = build(problem)
    model.fit(rows.features, rows.labels, **options)
    thresholds = [(c, t) for c, t in thresholds_of(model) if c in NUMBERS and np.isfinite(t)]
    # XGBoost and scikit-learn's float32 trees refuse infinities.
    takes_infinity = name.startswith(("LightGBM", "Hist", "CatBoost"))
    features = hard(thresholds, missing=name not in WITHOUT_NAN, infinite=takes_infinity)
    assert difference(model, rows, features) <= 1e-6
    assert library.read(model, rows).rounds == (1 if name == "DecisionTree" else TREES)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITHOUT_NAN])
def test_a_condition_may_only_ask_whether_there_is_a_number(name):
    build, options = MODELS[name]
    rows = labelled("regression")
    rows.labels[:] = rows.features.a.isna() * 5.0 + rows.features.c.isna() * 3.0 + rows.labels / 100
    model = build("regression")
    model.fit(rows.features, rows.labels, **options)
    assert difference(model, rows, hard(infinite=name.startswith(("LightGBM", "Hist", "CatBoost")))) <= 1e-6


@pytest.mark.parametrize("name", ["CatBoost", "CatBoost, depthwise", "HistGradientBoosting, categories"])
def test_ids_may_be_negative(name):
    build, options = MODELS[name]
    rows = labelled("binary")
    rows.features[CATEGORIES] -= 2
    model = build("binary")
    model.fit(rows.features, rows.labels, **options)
    features = hard()
    features[CATEGORIES] -= 2
    assert difference(model, rows, features) <= 1e-6
    assert difference(model, rows, hard(unseen=-9)) <= 1e-6


@pytest.mark.parametrize(
    ("build", "positive"),
    [
        (lambda: lightgbm("regression", objective="poisson"), True),
        (lambda: lightgbm("regression", reg_sqrt=True), False),
        (lambda: xgboost("regression", objective="reg:tweedie"), True),
        (lambda: catboost("regression", "SymmetricTree", loss_function="Poisson"), True),
        (lambda: scikit_learn("regression", "HistGradientBoosting", loss="gamma", max_iter=TREES), True),
        (lambda: scikit_learn("binary", "GradientBoosting", loss="exponential", n_estimators=TREES), False),
        (lambda: scikit_learn("binary", "GradientBoosting", init="zero", n_estimators=TREES), False),
    ],
)
def test_the_answer_has_the_link_of_its_loss(build, positive):
    model = build()
    problem = "binary" if hasattr(model, "predict_proba") else "regression"
    rows = labelled(problem, missing=False)
    model.fit(rows.features, np.abs(rows.labels) + 0.1 if positive else rows.labels)
    # XGBoost sums float32, whose error an exponential makes larger.
    assert difference(model, rows, hard(missing=False, infinite=False)) <= 5e-6


@pytest.mark.parametrize("problem", CLASSES)
@pytest.mark.parametrize("kind", ["lightgbm", "xgboost"])
def test_a_native_booster_is_read_too(problem, kind):
    import lightgbm
    import xgboost

    rows = labelled(problem)
    if kind == "lightgbm":
        objective = {"regression": "regression", "binary": "binary", "multiclass": "multiclass"}[problem]
        settings: dict[str, Any] = {"objective": objective, "verbose": -1, "num_threads": 1}
        settings |= {"num_class": 3} if problem == "multiclass" else {}
        model = lightgbm.train(settings, lightgbm.Dataset(rows.features, rows.labels), TREES)
    else:
        objective = {"regression": "reg:squarederror", "binary": "binary:logistic", "multiclass": "multi:softprob"}[
            problem
        ]
        settings = {"objective": objective, "nthread": 1} | ({"num_class": 3} if problem == "multiclass" else {})
        model = xgboost.train(settings, xgboost.DMatrix(rows.features, rows.labels), TREES)
    assert difference(model, rows, hard(infinite=False)) <= 1e-6
    assert library.read(model, rows).rounds == TREES


def test_early_stopping_ends_at_the_best_round():
    import lightgbm as library_of_leaves

    rows = labelled("binary")
    few = (rows.features[:50], rows.labels[50:100])  # labels of other rows: nothing can be learnt
    stopped = xgboost("binary", early_stopping_rounds=3).fit(rows.features, rows.labels, eval_set=[few], verbose=False)
    assert library.read(stopped, rows).rounds == stopped.best_iteration + 1 < TREES
    assert difference(stopped, rows, hard(infinite=False)) <= 1e-6
    leaves = lightgbm("binary").fit(
        rows.features,
        rows.labels,
        eval_X=few[0],
        eval_y=few[1],
        callbacks=[library_of_leaves.early_stopping(3, verbose=False)],
    )
    assert library.read(leaves, rows).rounds == leaves.best_iteration_ < TREES
    assert difference(leaves, rows, hard()) <= 1e-6


def test_a_model_may_take_some_of_the_columns_in_any_order():
    rows = labelled("regression")
    model = lightgbm("regression").fit(rows.features[["e", "a", "m"]], rows.labels)
    assert difference(model, rows, hard()) <= 1e-6
    importances = library.read(model, rows).importances
    assert np.flatnonzero(importances).tolist() == [0, 4, 6]


def test_models_that_cannot_be_served_are_refused():
    import catboost as library_of_categories
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    rows = labelled("binary", missing=False)
    features, labels = rows.features, rows.labels

    def refused(model: Any, message: str, of: OwnRows = rows) -> None:
        with pytest.raises(UsageError, match=message):
            library.read(model, of)

    refused(None, "returned nothing")
    refused(LinearRegression(), "returned LinearRegression, expected a fitted model of CatBoost, LightGBM, XGBoost")
    refused(make_pipeline(LinearRegression()), "prepare its features in preprocessing_fn")
    refused(
        scikit_learn("regression", "DecisionTree").fit(features, labels), "a DecisionTreeRegressor for a binary problem"
    )
    refused(
        scikit_learn("binary", "DecisionTree").fit(features, labels + 5), r"classes .* are \[5, 6\], expected \[0, 1\]"
    )
    refused(
        scikit_learn("binary", "DecisionTree").fit(features.assign(f=1), labels), "a column 'f', which rows.features"
    )
    refused(scikit_learn("binary", "DecisionTree").fit(features.to_numpy()[:, 1:], labels), "6 columns without names")
    of_category = features.astype({"k": "category"})
    refused(lightgbm("binary").fit(of_category, labels), "pandas' dtype category")
    refused(
        lightgbm("binary", cat_smooth=0, cat_l2=0).fit(features, labels, categorical_feature=["b"]),
        "the column 'b' for a category",
    )
    refused(lightgbm("binary", linear_tree=True).fit(features[NUMBERS], labels), "linear leaves")
    refused(
        lightgbm("binary", objective=lambda y, p: (p - y, np.ones(len(y)))).fit(features, labels),
        "objective .*'custom'|'none'",
    )
    refused(xgboost("binary", enable_categorical=True).fit(of_category, labels), "pandas' dtype category")
    refused(xgboost("binary", missing=-999).fit(features, labels), "takes -999 for a missing number .*data.missing")
    refused(xgboost("binary", n_estimators=0).fit(features, labels), "the model has no trees; fit at least one")
    quantiles = xgboost("regression", objective="reg:quantileerror", quantile_alpha=[0.1, 0.9])
    refused(quantiles.fit(features, labels), "several targets, such as those of quantile_alpha")
    refused(xgboost("binary", booster="gblinear").fit(features, labels), "'gblinear', expected gbtree or dart")
    statistics = library_of_categories.CatBoostClassifier(
        iterations=5, one_hot_max_size=2, allow_writing_files=False, verbose=0
    )
    refused(statistics.fit(features, labels, cat_features=CATEGORIES), "statistics of categories")
    refused(
        catboost("regression", "SymmetricTree", loss_function="RMSEWithUncertainty").fit(features, labels),
        "RMSEWithUncertainty",
    )


def test_thresholds_of_float64_divide_float32_numbers_in_the_same_way():
    generator = np.random.default_rng(0)
    middle = generator.normal(size=2000).astype(np.float32) * np.float32(10.0) ** generator.integers(-45, 38, 2000)
    middle = np.append(middle, [0.0, -0.0, np.inf, -np.inf]).astype(np.float32)
    steps = (np.nextafter(middle, np.float32(-np.inf)), middle, np.nextafter(middle, np.float32(np.inf)))
    wide = middle.astype(np.float64)
    for thresholds in (wide, np.nextafter(wide, -np.inf), np.nextafter(wide, np.inf)):
        for numbers in steps:
            assert np.array_equal(forest.sort_keys(numbers) <= forest.at_most(thresholds), numbers <= thresholds)
    for numbers in steps:
        assert np.array_equal(forest.sort_keys(numbers) <= forest.below(middle), numbers < middle)
