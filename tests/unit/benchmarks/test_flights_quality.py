"""The gains and intervals in the flights' tables."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.flights_quality import Judged, by_days, gains_in
from benison.components.evaluate.bootstrap import paired_difference
from benison.components.evaluate.metrics import METRICS

AUC = METRICS["auc"]
DAYS, FLIGHTS = 200, 5


def said(rng: np.random.Generator, labels: np.ndarray, noise: float) -> np.ndarray:
    """Probabilities [rows, 2] that know the labels, the less the more noise there is."""
    of_one = 1 / (1 + np.exp(-(labels - 0.5 + rng.normal(0, noise, len(labels)))))
    return np.stack([1 - of_one, of_one], axis=1)


@pytest.fixture
def independent() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of independent flights, and what a better and a worse model say."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, DAYS)
    return labels, said(rng, labels, 0.6), said(rng, labels, 1.6)


def test_days_of_one_flight_give_the_interval_of_flights(independent) -> None:
    labels, better, worse = independent
    _, rows = paired_difference(AUC, labels, better, worse)
    assert by_days(AUC, labels, np.arange(DAYS), better, worse) == pytest.approx(rows, abs=0.01)


def test_flights_that_repeat_within_their_day_tell_no_more_than_one_of_them(independent) -> None:
    labels, better, worse = (np.repeat(values, FLIGHTS, axis=0) for values in independent)
    days = np.repeat(np.arange(DAYS), FLIGHTS)
    assert by_days(AUC, labels, days, better, worse) == pytest.approx(
        by_days(AUC, independent[0], np.arange(DAYS), independent[1], independent[2])
    )
    _, rows = paired_difference(AUC, labels, better, worse)
    drawn = by_days(AUC, labels, days, better, worse)
    assert drawn.high - drawn.low > 1.5 * (rows.high - rows.low)


def test_more_is_better_for_either_kind_of_metric(independent) -> None:
    labels, better, worse = independent
    for name in ("auc", "log_loss"):
        assert by_days(METRICS[name], labels, np.arange(DAYS), better, worse).low > 0
        assert by_days(METRICS[name], labels, np.arange(DAYS), worse, better).high < 0


@pytest.mark.parametrize("name", ["auc", "log_loss"])
def test_a_gain_is_the_paired_difference_to_each_other_model(independent, name) -> None:
    labels, better, worse = independent
    worst = said(np.random.default_rng(1), labels, 3.0)
    judged = Judged(labels, np.arange(DAYS), {"worse": worse, "ensemble": better, "worst": worst}, late_before=0.5)
    for other, cell in zip((worse, worst), gains_in(METRICS[name], judged, ["worse", "worst"]), strict=True):
        gain, interval = paired_difference(METRICS[name], labels, better, other)
        assert cell == f"{gain:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
