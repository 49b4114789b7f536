"""Members trained on balanced classes still predict the probabilities of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benison.components.train.imbalance import ClassBalance

ROWS = 8_000
EPOCHS = 20  # the draws of one epoch differ by chance from the rates
METHODS = ("class_weight", "undersample")


def rare(classes: int = 2):
    """Draw features [rows, 1] and class ids; the last classes are rare, and the features of the classes overlap."""
    rng = np.random.default_rng(0)
    shares = np.array([0.9, 0.1] if classes == 2 else [0.8, 0.15, 0.05])
    y = rng.choice(classes, ROWS, p=shares)
    return (y + rng.normal(0, 1, ROWS))[:, None], y


def counts(y) -> tuple[int, ...]:
    return tuple(np.bincount(y).tolist())


def fit_balanced(method: Any, classes: int = 2):
    """Fit a logistic regression to balanced rows; return its probabilities, the labels and the balance."""
    import tensorflow as tf

    x, y = rare(classes)
    balance = ClassBalance(method, counts(y))
    epochs = balance.balance_training(tf.data.Dataset.from_tensor_slices((x, y)), seed=1).repeat(EPOCHS)
    (batch,) = epochs.batch(EPOCHS * ROWS)
    rows, labels, *weights = (part.numpy() for part in batch)
    model = LogisticRegression(C=1e6).fit(rows, labels, sample_weight=weights[0] if weights else None)
    return model.predict_proba(x), y, balance


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_the_mean_corrected_probability_is_the_base_rate(method, classes):
    probabilities, y, balance = fit_balanced(method, classes)
    assert probabilities.mean(axis=0) != pytest.approx(np.bincount(y) / ROWS, abs=0.1)
    corrected = balance.correct(probabilities).numpy()
    assert corrected.mean(axis=0) == pytest.approx(np.bincount(y) / ROWS, abs=0.005)
    assert corrected.sum(axis=1) == pytest.approx(np.ones(ROWS))


@pytest.mark.parametrize("method", METHODS)
def test_corrected_probabilities_equal_those_of_a_model_trained_on_all_rows(method):
    probabilities, y, balance = fit_balanced(method)
    x, _ = rare()
    plain = LogisticRegression(C=1e6).fit(x, y).predict_proba(x)
    assert np.abs(balance.correct(probabilities).numpy() - plain).max() < 0.05


def test_the_correction_of_undersampling_is_that_of_dal_pozzolo():
    balance = ClassBalance("undersample", (900, 100))
    rate = 100 / 900
    sampled = np.array([[0.3, 0.7]], np.float32)
    expected = rate * 0.7 / (rate * 0.7 - 0.7 + 1)
    assert balance.correct(sampled).numpy()[0, 1] == pytest.approx(expected)


def test_the_mean_weight_is_one_and_each_class_has_the_same_total_weight():
    balance = ClassBalance("class_weight", (80, 15, 5))
    totals = balance.weights * np.array([80, 15, 5])
    assert totals == pytest.approx([100 / 3] * 3)


def test_undersampling_keeps_the_rarest_class_and_draws_other_rows_in_each_epoch():
    import tensorflow as tf

    _, y = rare()
    rows = tf.data.Dataset.from_tensor_slices((np.arange(ROWS), y))
    balance = ClassBalance("undersample", counts(y))

    def epoch(dataset):
        return next(iter(dataset.batch(ROWS)))[0].numpy().tolist()

    dataset = balance.balance_training(rows, seed=1)
    first, second = epoch(dataset), epoch(dataset)
    assert set(np.flatnonzero(y == 1)) <= set(first) & set(second)
    assert len(first) == pytest.approx(2 * (y == 1).sum(), rel=0.1)
    assert first != second
    assert first == epoch(balance.balance_training(rows, seed=1))


@pytest.mark.parametrize("method", METHODS)
def test_valid_keeps_all_rows_and_weighs_them(method):
    import tensorflow as tf

    x, y = rare()
    balance = ClassBalance(method, counts(y))
    ((_, _, weights),) = balance.balance_validation(tf.data.Dataset.from_tensor_slices((x, y))).batch(ROWS)
    assert weights.numpy().mean() == pytest.approx(1)
    assert (weights.numpy()[y == 1] > weights.numpy()[y == 0].max()).all()


def test_none_changes_nothing():
    balance = ClassBalance("none")
    rows, probabilities = object(), object()
    assert balance.balance_training(rows, seed=1) is rows
    assert balance.balance_validation(rows) is rows
    assert balance.correct(probabilities) is probabilities
