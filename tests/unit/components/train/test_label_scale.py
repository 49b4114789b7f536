"""`target: auto`: skewed labels are learnt on a logarithmic scale if that is better, and the mean is right again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from benison.components.train import label_scale, out_of_fold
from benison.components.train.fitting import Fitted
from benison.components.train.label_scale import Scale, WayBack
from benison.components.train.rows import ArrayRows, Rows

LEVEL = NDArray[np.float64]


class LeastSquares:
    """Fitter of a linear model with squares of the features."""

    needs_stop = True

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        rows = learn.arrays()
        columns = np.column_stack([rows.features["x"], rows.features["x"] ** 2, np.ones(len(rows))])
        weights = np.linalg.lstsq(columns, rows.targets, rcond=None)[0].astype(np.float32)

        def predict(features: Mapping[str, Any]) -> Any:
            x = tf.cast(features["x"], tf.float32)
            return tf.linalg.matmul(tf.concat([x, x**2, tf.ones_like(x[:, :1])], axis=1), weights[:, None])

        return Fitted(predict, 1)


def prices(level: LEVEL, noise: LEVEL) -> LEVEL:
    return np.exp(8 + level + noise)


def signed(level: LEVEL, noise: LEVEL) -> LEVEL:
    return 100 * np.sinh(1.5 + level + noise)


def half_zero(level: LEVEL, noise: LEVEL) -> LEVEL:
    return np.where(np.arange(len(level)) % 2, np.exp(4 + 1.5 * level + noise), 0)


def table(label: Callable[[LEVEL, LEVEL], LEVEL], seed: int, rows: int = 4000) -> ArrayRows:
    """Return rows in which small labels have more noise than large ones, on the logarithmic scale."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 3))
    level = x @ [1.0, 0.7, 0.3]
    y = label(level, rng.normal(size=rows) * (0.5 - 0.1 * level))
    return ArrayRows({"x": x.astype(np.float32)}, y.astype(np.float32))


def is_right_on_average(answers: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Return True if the mean of the answers is that of the labels, within its 95 % interval."""
    difference = answers - labels
    return bool(abs(difference.mean()) <= 1.96 * difference.std(ddof=1) / np.sqrt(len(labels)))


@pytest.mark.parametrize("label", [prices, signed])
def test_a_skewed_label_is_learnt_on_a_scale_and_the_mean_is_right_in_every_tenth(
    label: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train = table(label, 99, 8000)
    assert (train.targets.min() < 0) == (label is signed)
    out, fitted = label_scale.fit(LeastSquares(), train, 5, 0, "linear", absolute=False)
    assert f"on the scale {'log(y)' if label is prices else 'asinh(y / '}" in capsys.readouterr().out
    assert out.answers.shape == (8000, 1)
    assert out.labels is train.targets
    overall, tenths, without = 0, 0, LeastSquares().fit(train, 1)
    for seed in range(10):
        test = table(label, seed, 1000)
        answers = fitted.predict(test.features).numpy()[:, 0]
        plain = without.predict(test.features).numpy()[:, 0]
        assert ((answers - test.targets) ** 2).mean() < ((plain - test.targets) ** 2).mean()
        overall += is_right_on_average(answers, test.targets)
        tenths += sum(is_right_on_average(answers[p], test.targets[p]) for p in np.array_split(np.argsort(answers), 10))
    assert overall >= 8
    assert tenths >= 87  # with one factor for all levels about 82


@pytest.mark.parametrize("label", [prices, signed, half_zero])
@pytest.mark.parametrize("rows", [300, 4000])
def test_out_of_fold_the_mean_is_right_and_predictions_are_within_the_labels(
    label: Callable[..., Any], rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    train = table(label, 7, rows)
    labels = train.targets.astype(np.float64)
    scale = Scale.of(labels, np.ones(rows))
    assert scale is not None
    scaled = replace(train, targets=scale.forward(labels))
    answers = out_of_fold.fit(LeastSquares(), scaled, 5, 0, "linear")[0].answers
    weights = np.random.default_rng(0).uniform(0.5, 2, rows)
    back = WayBack.of(scale, scaled.targets, answers[:, 0], weights)
    predictions = back(tf.constant(answers)).numpy()[:, 0].astype(np.float64)
    # Uncorrected, the prediction was up to a fifth too small where half of the labels are 0.
    assert np.average(predictions, weights=weights) == pytest.approx(np.average(labels, weights=weights), rel=0.01)
    tails = back(tf.constant([[-1e6], [1e6]])).numpy()
    assert labels.min() <= min(predictions.min(), tails.min()) + 1e-3 * abs(labels.min())
    assert max(predictions.max(), tails.max()) <= labels.max() * (1 + 1e-3)


def test_a_label_that_is_not_skewed_is_learnt_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(lambda level, noise: 5 + level + noise, 0, 500)
    _, fitted = label_scale.fit(LeastSquares(), rows, 5, 0, "linear", absolute=False)
    expected = LeastSquares().fit(rows, 1).predict(rows.features).numpy()
    np.testing.assert_allclose(fitted.predict(rows.features).numpy(), expected, rtol=1e-6)
    assert "is not skewed" in capsys.readouterr().out


def test_a_scale_that_is_no_better_is_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.exponential(size=(600, 1)).astype(np.float32)
    rows = ArrayRows({"x": x}, (1 + 10 * x[:, 0] + rng.normal(scale=0.1, size=600)).astype(np.float32))
    _, fitted = label_scale.fit(LeastSquares(), rows, 5, 0, "linear", absolute=True)
    assert "the label is learnt as it is" in capsys.readouterr().out
    assert np.abs(fitted.predict(rows.features).numpy()[:, 0] - rows.targets).mean() < 0.1


def test_an_answer_far_from_all_labels_stays_finite() -> None:
    labels = np.exp(np.random.default_rng(0).normal(size=1000)).astype(np.float32)
    scale = Scale.of(labels, np.ones(1000))
    assert scale is not None
    back = WayBack.of(scale, scale.forward(labels), scale.forward(labels), np.ones(1000))
    answers = back(tf.constant([[1e30], [-1e30], [0.0]])).numpy()[:, 0]
    np.testing.assert_allclose(answers, [labels.max(), labels.min(), 1.0], rtol=1e-4)


def test_trees_learn_on_a_scale_too(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from benison.components.train.fitting import Task
    from benison.components.train.member import Recipe
    from benison.components.train.trees.fitter import TreesFitter

    train, test = table(prices, 3, 1500), table(prices, 4, 1000)
    recipe = Recipe("", "regression", 1, patience=20, seed=3, kind="trees", name="trees")
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}
    fitter = TreesFitter(Task(recipe, SimpleNamespace(values={"trees": 100}), spec, 0))
    _, fitted = label_scale.fit(fitter, train, 3, 0, "trees", absolute=True)
    assert "the label is learnt on this scale" in capsys.readouterr().out
    answers = np.asarray(fitted.predict({"x": tf.constant(test.features["x"])}))[:, 0]
    assert 0.9 < answers.mean() / test.targets.mean() < 1.1
