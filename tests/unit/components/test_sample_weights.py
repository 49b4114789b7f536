"""Sample weights: a row of weight k counts as k equal rows, and the scale of the weights does not matter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components import label_values, sample_weights, weight_values
from benison.components.ensemble import combiner_fit, opinion_pools
from benison.components.evaluate import permutation, power
from benison.components.evaluate.bootstrap import paired_difference
from benison.components.evaluate.judged_rows import MemberChoice
from benison.components.evaluate.metrics import METRICS
from benison.components.evaluate.rules import Rule, judge
from benison.components.train import fitting, label_scale, member, out_of_fold
from benison.components.train.fitting import Task
from benison.components.train.keras_member import KerasFitter
from benison.components.train.own_trees.fitter import OwnTreesFitter
from benison.components.train.rows import ArrayRows
from benison.components.train.trees.fitter import TreesFitter
from benison.components.transform import LABEL, WEIGHT
from benison.components.tuning import table_trials
from benison.serving.errors import DataError

RNG = np.random.default_rng(11)
ROWS = 300
COPIES = RNG.integers(1, 5, ROWS)
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
SCORE = X[:, 0] - X[:, 1] + RNG.normal(size=ROWS)
CLASSES = (SCORE > 0.5).astype(np.int64)
NUMBERS = np.exp(SCORE).astype(np.float32)


def copied(values: np.ndarray) -> np.ndarray:
    return np.repeat(values, COPIES, axis=0)


def rows(targets: np.ndarray, *, weighted: bool, scale: float = 1.0) -> ArrayRows:
    """Return rows with weights, or each row as often as its weight says."""
    if weighted:
        return ArrayRows({"x": X}, targets, weights=(COPIES * scale).astype(np.float32))
    return ArrayRows({"x": copied(X)}, copied(targets))


def members(problem: str) -> dict[str, np.ndarray]:
    """Return the answers of two members of different quality."""
    if problem == "regression":
        noise = np.random.default_rng(4).normal(size=(2, ROWS, 1))
        return {"good": NUMBERS[:, None] + noise[0], "bad": NUMBERS[:, None] + 1.5 * noise[1]}
    odds = [1 / (1 + np.exp(-sharpness * X @ [1.0, -1.0])) for sharpness in (1.5, 0.3)]
    return {name: np.stack([1 - p, p], axis=1) for name, p in zip(("good", "bad"), odds, strict=True)}


def labels_of(problem: str) -> np.ndarray:
    return NUMBERS[:, None].astype(float) if problem == "regression" else CLASSES


def test_statistics_are_those_of_the_copies() -> None:
    values = RNG.normal(size=ROWS)
    assert sample_weights.median(values, COPIES) == pytest.approx(np.median(copied(values)))
    mean, error = sample_weights.mean_and_error(values, COPIES)
    assert mean == pytest.approx(copied(values).mean())
    assert error > copied(values).std() / np.sqrt(COPIES.sum())  # copies are no new rows
    equal = sample_weights.mean_and_error(values, np.full(ROWS, 0.3))
    assert equal == pytest.approx((values.mean(), values.std(ddof=1) / np.sqrt(ROWS)))


def test_the_effective_number_of_rows_is_that_of_equal_weights() -> None:
    assert sample_weights.effective_rows(np.full(50, 0.1)) == 50
    assert sample_weights.effective_rows(np.array([1.0, 1.0, 1e9])) == pytest.approx(1, abs=1e-6)
    assert sample_weights.effective_rows(1e-9 * COPIES) == pytest.approx(COPIES.sum() ** 2 / (COPIES**2).sum())


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_the_difference_of_two_models_is_that_of_the_copies(problem: str) -> None:
    y, (good, bad) = labels_of(problem), members(problem).values()
    metric = METRICS["log_loss" if problem == "binary" else "rmse"]
    gain, interval = paired_difference(metric, y, good, bad, resamples=200, weights=COPIES / 7)
    expected, narrow = paired_difference(metric, copied(y), copied(good), copied(bad), resamples=200)
    assert gain == pytest.approx(expected)
    assert interval.high - interval.low > narrow.high - narrow.low  # copies tell nothing new


@pytest.mark.parametrize("problem", ["binary", "regression"])
@pytest.mark.parametrize("kind", ["weighted_mean", "stacking"])
def test_a_pool_without_a_penalty_is_that_of_the_copies(problem: str, kind: str) -> None:
    pool = opinion_pools.pool_for(kind, problem)
    y, stacked = labels_of(problem), np.stack(list(members(problem).values()))
    of_weights = pool.fit(y, stacked, 0.0, COPIES / 7)
    of_copies = pool.fit(copied(y), np.repeat(stacked, COPIES, axis=1), 0.0, np.ones(COPIES.sum()))
    assert of_weights == pytest.approx(of_copies, abs=1e-3)
    assert pool.fit(y, stacked, 0.0, np.ones(ROWS)) != pytest.approx(of_copies, abs=1e-3)
    losses = pool.losses(of_copies, y, stacked, COPIES)
    losses_of_copies = pool.losses(of_copies, copied(y), np.repeat(stacked, COPIES, axis=1), np.ones(COPIES.sum()))
    assert copied(losses) == pytest.approx(losses_of_copies)


def test_a_temperature_is_that_of_the_copies() -> None:
    answers = members("binary")["good"]
    temperature, _ = opinion_pools.fit_temperature(CLASSES, answers, False, COPIES / 7)
    of_copies, _ = opinion_pools.fit_temperature(copied(CLASSES), copied(answers), False, np.ones(COPIES.sum()))
    assert temperature == pytest.approx(of_copies, rel=1e-4)


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_a_combiner_does_not_depend_on_the_scale_of_the_weights(problem: str) -> None:
    first, second = (
        combiner_fit.fit("weighted_mean", problem, labels_of(problem), members(problem), row_weights=COPIES * scale)
        for scale in (1.0, 1 / 1024)
    )
    assert first.kept == second.kept
    assert [c.weight for c in first.contributions] == pytest.approx([c.weight for c in second.contributions])


def test_a_combiner_of_rows_of_which_few_count_is_refused() -> None:
    weights = np.where(np.arange(ROWS) < 6, 1e6, 1.0)
    with pytest.raises(DataError, match=r"300 rows for the combiner, which tell as much as 6\.0 of equal weight; a fi"):
        combiner_fit.fit("stacking", "binary", CLASSES, members("binary"), row_weights=weights)


@pytest.mark.parametrize("imbalance", ["none", "class_weight", "undersample"])
def test_sample_weights_and_class_weights_multiply_and_their_mean_is_one(imbalance: Any) -> None:
    recipe = member.Recipe("", "binary", 1, patience=1, seed=1, imbalance=imbalance)
    weighted, single = rows(CLASSES, weighted=True, scale=0.01), rows(CLASSES, weighted=False)
    balance = fitting.class_balance(recipe, weighted, 2)
    of_copies = fitting.class_balance(recipe, single, 2)
    for method in ("training_weights", "validation_weights"):
        weights = getattr(balance, method)(CLASSES, weighted.weights)
        assert weights.mean() == pytest.approx(1, abs=1e-5)
        expected = COPIES * getattr(of_copies, method)(CLASSES, None)
        assert weights == pytest.approx(expected / expected.mean(), rel=1e-5)
    for learn in (weighted.dataset(), rows(CLASSES, weighted=True, scale=300).dataset()):
        balanced = list(balance.balance_validation(learn).batch(ROWS))
        assert len(balanced[0]) == 3
    if imbalance != "none":
        answers = np.array([[0.4, 0.6]], np.float32)
        assert balance.correct(answers).numpy() == pytest.approx(of_copies.correct(answers).numpy(), abs=1e-6)


def test_the_scale_of_a_target_is_that_of_the_copies() -> None:
    recipe = member.Recipe("", "regression", 1, patience=1, seed=1)
    expected = fitting.target_scale(recipe, rows(NUMBERS, weighted=False))
    assert fitting.target_scale(recipe, rows(NUMBERS, weighted=True, scale=3)) == pytest.approx(expected)


def test_the_way_back_from_a_scale_is_that_of_the_copies() -> None:
    few = slice(0, 120)  # of so few rows, or copies of them, there is one level
    labels, weights, number = NUMBERS[few] - 0.5, COPIES[few] * 0.5, COPIES[few].sum()

    def repeated(values: np.ndarray) -> np.ndarray:
        return np.repeat(values, COPIES[few])

    scale = label_scale.Scale.of(labels, weights)
    assert scale == label_scale.Scale.of(repeated(labels), np.ones(number))
    assert scale is not None
    scaled, answers = scale.forward(labels), X[few, 0] - X[few, 1]
    back = label_scale.WayBack.of(scale, scaled, answers, weights)
    of_copies = label_scale.WayBack.of(scale, repeated(scaled), repeated(answers), np.ones(number))
    assert back.factors == pytest.approx(of_copies.factors)


def fitted_answers(fitter: Any, learn: ArrayRows, stop: ArrayRows | int) -> np.ndarray:
    return out_of_fold.answer(fitter.fit(learn, stop).predict, ArrayRows({"x": X}, CLASSES))


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_trees_of_weighted_rows_are_nearly_those_of_the_copies(problem: str) -> None:
    same = np.where(COPIES >= 3, 1, -1)  # the rows of small weights say the opposite
    targets = (same * SCORE > 0).astype(np.int64) if problem == "binary" else (same * SCORE).astype(np.float32)

    def trees(learn: ArrayRows) -> np.ndarray:
        import tensorflow as tf

        spec = {"x": tf.io.FixedLenFeature([2], tf.float32)}
        # Without L2, because it counts rows; with small trees, so that random samples of rows matter little.
        values = {"trees": 20, "depth": 2, "l2": 1e-6, "learning_rate": 0.1}
        recipe = member.Recipe("", problem, 1, patience=20, seed=3, kind="trees", name="trees")
        task = Task(recipe, SimpleNamespace(values=values), spec, 2 if problem == "binary" else 0)
        return fitted_answers(TreesFitter(task), learn, 20)[:, -1]

    of_weights, scaled, of_copies, ignored = (
        trees(learn)
        for learn in (
            rows(targets, weighted=True),
            rows(targets, weighted=True, scale=1024),
            rows(targets, weighted=False),
            ArrayRows({"x": X}, targets),
        )
    )
    assert scaled == pytest.approx(of_weights, abs=1e-5 * float(np.abs(of_weights).max()))
    assert np.abs(of_weights - of_copies).mean() < 0.3 * np.abs(ignored - of_copies).mean()


GROW = """
from sklearn.ensemble import GradientBoostingRegressor


def grow(rows, hp):
    model = GradientBoostingRegressor(n_estimators=10, max_depth=2, random_state=0)
    return model.fit(rows.features, rows.labels, sample_weight=rows.weights)
"""


def test_a_users_trees_of_weighted_rows_are_those_of_the_copies(tmp_path: Path) -> None:
    import tensorflow as tf

    (tmp_path / "trees.py").write_text(GROW)
    targets = (np.where(COPIES >= 3, 1, -1) * SCORE).astype(np.float32)

    def trees(learn: ArrayRows) -> np.ndarray:
        recipe = member.Recipe(f"{tmp_path / 'trees.py'}:grow", "regression", 1, patience=20, seed=3, kind="trees")
        task = Task(recipe, SimpleNamespace(values={}), {"x": tf.io.FixedLenFeature([2], tf.float32)}, 0)
        return fitted_answers(OwnTreesFitter(task), learn, 10)

    of_weights, of_copies = trees(rows(targets, weighted=True, scale=0.125)), trees(rows(targets, weighted=False))
    assert np.abs(of_weights - of_copies).mean() < 0.1 * np.abs(trees(ArrayRows({"x": X}, targets)) - of_copies).mean()


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_the_loss_of_a_trial_is_that_of_the_copies(problem: str) -> None:
    targets = CLASSES if problem == "binary" else NUMBERS
    answers = members(problem)["good"]
    of_weights = table_trials.loss(answers, rows(targets, weighted=True, scale=7), problem)
    assert of_weights == pytest.approx(table_trials.loss(copied(answers), rows(targets, weighted=False), problem))


@pytest.mark.parametrize("problem", ["binary", "regression"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_keras_member_of_weighted_rows_is_that_of_the_copies(tmp_path: Path, problem: str, in_memory: bool) -> None:
    import keras_tuner
    import tensorflow as tf

    text = "from keras import layers\n\n\ndef deep(inputs, hp):\n    return layers.Dense(4)(inputs['x'])\n"
    (tmp_path / "models.py").write_text(text)
    targets = CLASSES if problem == "binary" else NUMBERS

    def answers(learn: ArrayRows) -> np.ndarray:
        # One batch has all rows: then a step is that of the whole table.
        recipe = member.Recipe(f"{tmp_path / 'models.py'}:deep", problem, len(learn), patience=5, seed=7, epochs=8)
        hp = keras_tuner.HyperParameters()
        hp.Fixed("learning_rate", 0.05)
        task = Task(recipe, hp, {"x": tf.io.FixedLenFeature([2], tf.float32)}, 2 if problem == "binary" else 0)
        fitter = KerasFitter(task)
        if not in_memory:
            fitter._is_ours = False  # as for a model that the user's function compiled
        return fitted_answers(fitter, learn, learn)

    of_weights, of_copies = answers(rows(targets, weighted=True, scale=0.125)), answers(rows(targets, weighted=False))
    size = float(np.abs(of_copies).max())
    assert of_weights == pytest.approx(of_copies, abs=1e-3 * size)
    assert answers(ArrayRows({"x": X}, targets)) != pytest.approx(of_copies, abs=1e-3 * size)


def test_rows_of_weight_zero_are_not_learnt_and_out_of_fold_answers_keep_their_weights(tmp_path: Path) -> None:
    import tensorflow as tf

    from benison.components.train.rows import FileRows

    kinds = {"x": tf.float32, LABEL: tf.int64, WEIGHT: tf.float32}
    transform: Any = SimpleNamespace(
        transformed_feature_spec=lambda: {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items()}
    )
    with tf.io.TFRecordWriter(str(tmp_path / "rows.gz"), "GZIP") as writer:
        for row in range(20):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.append(row)
            example.features.feature[LABEL].int64_list.value.append(row % 2)
            example.features.feature[WEIGHT].float_list.value.append(row % 4)
            writer.write(example.SerializeToString())
    files = FileRows([str(tmp_path / "*.gz")], transform)
    read = files.arrays()
    counted = [row for row in range(20) if row % 4]
    assert read.features["x"][:, 0].tolist() == counted
    assert read.row_weights.tolist() == [row % 4 for row in counted]
    assert read.select(np.arange(3)).row_weights.tolist() == [1, 2, 3]
    ((labels, weights),) = files.labels()
    assert (len(labels), weights.sum()) == (15, 30)
    recipe = member.Recipe("", "binary", 5, patience=1, seed=1)
    balance = fitting.class_balance(recipe, files, 2)
    batches = member.dataset([str(tmp_path / "*.gz")], transform, recipe, balance, learn=True)
    assert sum(float(weight.numpy().sum()) for _, _, weight in batches) == pytest.approx(15)  # their mean is 1
    out_of_fold.OutOfFold(read.targets, np.zeros((15, 2), np.float32), read.weights).save(tmp_path)
    loaded = out_of_fold.OutOfFold.load(tmp_path)
    assert loaded is not None
    assert loaded.weights is not None
    assert loaded.weights.tolist() == read.row_weights.tolist()


def test_weights_decide_which_member_is_the_best_and_whether_a_candidate_is_blessed() -> None:
    labels = np.tile([0, 1], 100)
    right, wrong = np.eye(2)[labels] * 0.8 + 0.1, np.eye(2)[1 - labels] * 0.8 + 0.1
    first = (np.arange(200) < 70)[:, None]
    late, early = np.where(first, wrong, right), np.where(first, right, wrong)
    weights = np.where(first[:, 0], 10.0, 1.0)
    options: dict[str, Any] = {
        "problem": "binary",
        "metric": "accuracy",
        "labels": labels,
        "reference": np.array([0.5, 0.5]),
    }
    rule = Rule("accuracy", not_worse_than="best_member")

    def judged(**given: Any) -> Any:
        choice = MemberChoice(labels, {"early": early, "late": late}, given.get("weights"))
        models: Mapping[str, np.ndarray] = {"early": early, "late": late}
        return judge(**options, ensemble=late, members=models, choice=choice, rules=[rule], resamples=300, **given)

    plain, weighted = judged(), judged(weights=weights)
    assert plain.verdicts[0].value == pytest.approx(130 / 200)
    assert weighted.verdicts[0].value == pytest.approx(130 / 830)
    assert "against late's" in plain.verdicts[2].reason
    assert "against early's" in weighted.verdicts[2].reason
    assert plain.blessed
    assert not weighted.blessed


def test_few_rows_are_counted_by_their_effective_number() -> None:
    labels, weights = np.tile([0, 1], 100), np.where(np.arange(200) < 4, 1e5, 1.0)
    assert permutation.telling_rows("binary", labels, np.full(200, 3.0)) == permutation.telling_rows("binary", labels)
    assert permutation.telling_rows("binary", labels, weights) == 2
    case = power.Case("binary", METRICS["accuracy"], np.array([0.5, 0.5]), 0)
    shortage = power.shortage(case, labels, weights, lambda labels, weights, power: len(labels) >= 40)
    assert shortage is not None
    assert shortage.text.startswith("200 rows, which tell as much as 4.0 of equal weight, 2 of them outside the most ")
    assert shortage.rows is not None
    assert shortage.rows >= 40 * 200 / 4
    assert power.shortage(case, labels, np.full(200, 3.0), lambda *_: True) is None


def written(folder: Path, kind: str, splits: dict[str, list[Any]]) -> Any:
    """Write the weights of each split as Examples; each has the label of its row's number."""
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), artifact_utils.encode_split_names(list(splits))
    for split, cells in splits.items():
        file = folder / f"Split-{split}" / "rows.gz"
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for number, cell in enumerate(cells):
                example = tf.train.Example()
                example.features.feature["label"].bytes_list.value.append(b"yn"[number % 2 : number % 2 + 1])
                feature = example.features.feature["w"]
                lists = {"BYTES": feature.bytes_list, "FLOAT": feature.float_list, "INT": feature.int64_list}
                lists[kind].value.extend([] if cell is None else [cell])
                writer.write(example.SerializeToString())
    return examples


def schema_of(kind: str) -> Any:
    return text_format.Parse(
        f'feature {{ name: "w" type: {kind} }} feature {{ name: "label" type: BYTES }}', schema_pb2.Schema()
    )


@pytest.mark.parametrize(
    ("kind", "splits", "message"),
    [
        ("FLOAT", {"train": [1.0, None, None]}, "2 of 3 rows of train have no weight; expected a number of at least 0"),
        ("FLOAT", {"train": [1.0], "test": [2.0, float("nan")]}, "1 of 2 rows of test have no weight"),
        ("INT", {"train": [1, -2, -3]}, "2 of 3 rows of train have a weight such as -2; expected finite numbers"),
        ("FLOAT", {"valid": [float("inf")]}, "1 of 1 rows of valid have a weight such as inf"),
        ("INT", {"train": [1], "blend": [0, 0]}, "all 2 rows of blend have the weight 0, so none counts"),
        (
            "FLOAT",
            {"train": [1.0, 2.0], "test": [2.0] * 20 + [1e30]},
            r"one of 21 rows of test has the weight 1e\+30, more than all others together \(their median is 2\)",
        ),
        ("BYTES", {"train": [b"1"]}, "it is text in the schema; expected a column of numbers of at least 0"),
    ],
)
def test_wrong_weights_are_refused_with_split_rows_and_column(
    tmp_path: Path, kind: str, splits: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(DataError, match=f"^weight 'w': {message}"):
        weight_values.check([written(tmp_path, kind, splits)], schema_of(kind), "w")


def test_a_row_of_weight_zero_counts_as_no_row_of_its_class(tmp_path: Path) -> None:
    examples = written(tmp_path, "INT", {"train": [1, 0, 3, 2]})
    assert weight_values.check([examples], schema_of("INT"), "w") == {"train": (3, round(36 / 14, 6))}
    assert label_values.read([examples], schema_of("INT"), "label", "w") == {"train": {"y": 2, "n": 1}}
    assert label_values.rows_without_label([examples], schema_of("INT"), "label", "w") == {"train": (0, 3)}
