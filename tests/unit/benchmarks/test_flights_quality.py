"""The gains and intervals in the tables of the flights are correct."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.flights_quality import Predictions, gains, interval_by_day
from benison.components.evaluate.bootstrap import paired_difference
from benison.components.evaluate.metrics import METRICS

AUC = METRICS["auc"]
DAYS, FLIGHTS = 200, 5


def predict(rng: np.random.Generator, labels: np.ndarray, noise: float) -> np.ndarray:
    """Return probabilities [rows, 2] that follow the labels; more noise makes them worse."""
    positive = 1 / (1 + np.exp(-(labels - 0.5 + rng.normal(0, noise, len(labels)))))
    return np.stack([1 - positive, positive], axis=1)


@pytest.fixture
def independent() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of independent flights, and the probabilities of a better and a worse model."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, DAYS)
    return labels, predict(rng, labels, 0.6), predict(rng, labels, 1.6)


def test_with_one_flight_per_day_the_interval_is_that_of_the_flights(independent) -> None:
    labels, better, worse = independent
    _, rows = paired_difference(AUC, labels, better, worse)
    assert interval_by_day(AUC, labels, np.arange(DAYS), better, worse) == pytest.approx(rows, abs=0.01)


def test_repeated_flights_of_a_day_do_not_narrow_the_interval(independent) -> None:
    labels, better, worse = (np.repeat(values, FLIGHTS, axis=0) for values in independent)
    days = np.repeat(np.arange(DAYS), FLIGHTS)
    assert interval_by_day(AUC, labels, days, better, worse) == pytest.approx(
        interval_by_day(AUC, independent[0], np.arange(DAYS), independent[1], independent[2])
    )
    _, rows = paired_difference(AUC, labels, better, worse)
    by_day = interval_by_day(AUC, labels, days, better, worse)
    assert by_day.high - by_day.low > 1.5 * (rows.high - rows.low)


def test_a_better_model_has_a_positive_gain_in_every_metric(independent) -> None:
    labels, better, worse = independent
    for name in ("auc", "log_loss"):
        assert interval_by_day(METRICS[name], labels, np.arange(DAYS), better, worse).low > 0
        assert interval_by_day(METRICS[name], labels, np.arange(DAYS), worse, better).high < 0


@pytest.mark.parametrize("name", ["auc", "log_loss"])
def test_a_gain_is_the_paired_difference_to_each_other_model(independent, name) -> None:
    labels, better, worse = independent
    worst = predict(np.random.default_rng(1), labels, 3.0)
    models = {"worse": worse, "ensemble": better, "worst": worst}
    predictions = Predictions(labels, np.arange(DAYS), models, training_rate=0.5)
    for other, cell in zip((worse, worst), gains(METRICS[name], predictions, ["worse", "worst"]), strict=True):
        gain, interval = paired_difference(METRICS[name], labels, better, other)
        assert cell == f"{gain:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
