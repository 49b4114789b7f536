from __future__ import annotations

import numpy as np
import pytest

from benison.components.train.trees import in_graph, symmetric
from benison.components.train.trees.symmetric import SymmetricTrees

ROWS, VALUES = 100_000, 40
PROBLEMS = ("binary", "multiclass", "regression")


def table(rows: int, seed: int):
    """Numbers with NaN, infinities, ties and amounts beyond 2 ** 24; categories with -1 and ids that are rare."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(rows, 5)).astype(np.float32)
    numbers[:, 1] = generator.integers(0, 7, rows)
    numbers[:, 2] = (1_600_000_000 + generator.integers(0, 10**8, rows)).astype(np.float32)
    numbers[:, 3] *= np.float32(1e-30)
    numbers[generator.random(numbers.shape) < 0.1] = np.nan
    numbers[:, 4] = generator.normal(size=rows)  # no NaN here in training
    numbers[::50, 0], numbers[1::50, 0] = np.inf, -np.inf
    categories = np.stack([generator.integers(-1, VALUES, rows), generator.integers(-1, 2, rows)], axis=1)
    return numbers, categories.astype(np.int64)


def pool(catboost, numbers, categories, label=None):
    import pandas as pd

    frame = pd.DataFrame(numbers).join(pd.DataFrame(categories), rsuffix="c")
    frame.columns = range(frame.shape[1])
    columns = range(numbers.shape[1], frame.shape[1])
    return catboost.Pool(frame, label, cat_features=list(columns))


def fitted(problem: str):
    import catboost

    numbers, categories = table(3000, seed=1)
    known = np.nan_to_num(numbers, posinf=3, neginf=-3)
    value = known[:, 0] + (known[:, 1] > 3) * (categories[:, 0] % 3) + (known[:, 3] > 0) + known[:, 4] ** 2
    value += known[:, 2] / 1e9
    label = {
        "regression": 1000 * value,
        "binary": (value > np.median(value)).astype(int),
        "multiclass": np.digitize(value, np.quantile(value, [0.3, 0.6])),
    }[problem]
    loss = {"regression": "RMSE", "binary": "Logloss", "multiclass": "MultiClass"}[problem]
    largest = np.finfo(np.float32).max
    rows = pool(catboost, np.clip(numbers, -largest, largest), categories, label)
    model = catboost.CatBoost(
        {
            "loss_function": loss,
            "iterations": 200,
            "depth": 6,
            "one_hot_max_size": 255,
            "thread_count": 1,
            "allow_writing_files": False,
        }
    )
    model.fit(rows, verbose=False)
    return catboost, model, symmetric.from_catboost(model, rows)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_trees_in_the_graph_answer_as_catboost_does(problem):
    import tensorflow as tf

    catboost, model, trees = fitted(problem)
    numbers, categories = table(ROWS, seed=2)
    categories[::7, 0] = VALUES + 5  # an id that training did not have
    numbers[::11, 4] = np.nan
    for column, border in zip(trees.number_columns, trees.borders, strict=True):
        numbers[np.random.default_rng(column).integers(0, ROWS, 50), column] = border
    answers = tf.function(in_graph.function(trees))(tf.constant(numbers), tf.constant(categories)).numpy()
    expected = model.predict(pool(catboost, numbers, categories), prediction_type="RawFormulaVal")
    expected = expected.reshape(ROWS, -1)
    assert answers.shape == expected.shape
    assert len(trees.borders) > 20
    assert len(trees.categories) > 5
    assert np.abs(answers - expected).max() <= 1e-6 * np.abs(expected).max()


def test_a_model_without_trees_gives_every_row_its_answer():
    import tensorflow as tf

    answers = in_graph.function(SymmetricTrees.constant([0.25, -1.5]))
    rows = answers(tf.zeros([3, 0]), tf.zeros([3, 2], tf.int64))
    assert rows.numpy().tolist() == [[0.25, -1.5]] * 3


def test_answers_can_be_in_another_unit():
    import tensorflow as tf

    _, _, trees = fitted("regression")
    numbers, categories = map(tf.constant, table(100, seed=3))
    plain = in_graph.function(trees)(numbers, categories).numpy()
    scaled = in_graph.function(trees.in_unit(2.0, 5.0))(numbers, categories).numpy()
    assert np.allclose(scaled, 2 * plain + 5, rtol=1e-5)


def test_a_statistic_of_the_label_is_refused():
    tree = {"splits": [{"split_type": "OnlineCtr", "border": 0.5}], "leaf_values": [0.0, 1.0]}
    with pytest.raises(ValueError, match="OnlineCtr needs statistics of the label"):
        symmetric.from_json({"oblivious_trees": [tree], "scale_and_bias": [1, [0]]})
