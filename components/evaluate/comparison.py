"""Compares a candidate with another model by one metric, and formats the figures for messages."""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import NDArray

from benison.components.evaluate.bootstrap import Interval, paired_difference
from benison.components.evaluate.metrics import Metric
from benison.components.evaluate.verdicts import Verdict, finite_interval_or_none, finite_or_none


@dataclass(frozen=True)
class Comparison:
    """The candidate's predictions on the split `test`, to be compared with other models by one metric.

    Attributes:
        metric: the metric of the comparison.
        labels: see `Metric.compute`.
        ensemble: predictions of the candidate.
        confidence: confidence level of the intervals, between 0 and 1.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        weights: sample weights [rows]; None if all are equal.
    """

    metric: Metric
    labels: NDArray
    ensemble: NDArray
    confidence: float
    resamples: int
    seed: int
    weights: NDArray | None = None

    def to(self, other: NDArray) -> Difference:
        """Compare the candidate with a model that has the predictions `other`."""
        gain, interval = paired_difference(
            self.metric, self.labels, self.ensemble, other, self.confidence, self.resamples, self.seed, self.weights
        )
        value, bound = (self.metric.compute(self.labels, model, self.weights) for model in (self.ensemble, other))
        return Difference(self.metric, value, bound, gain, interval, self.confidence)


@dataclass(frozen=True)
class Difference:
    """The difference between the candidate and another model.

    Attributes:
        metric: the metric of the comparison.
        value: metric of the candidate.
        bound: metric of the other model.
        gain: gain of the candidate, positive if it is better.
        interval: interval of the gain.
        confidence: confidence level of the interval, between 0 and 1.
    """

    metric: Metric
    value: float
    bound: float
    gain: float
    interval: Interval
    confidence: float

    @property
    def undefined(self) -> str | None:
        """The reason why the models cannot be compared; None if they can."""
        if math.isfinite(self.gain) and math.isfinite(self.interval.low):
            return None
        figures = f"{format_number(self.value)} against {format_number(self.bound)}"
        return f"{self.metric.name} is undefined on the split test ({figures}), so the models cannot be compared"

    @property
    def bounds(self) -> str:
        """The interval of the gain, as text."""
        low, high = self.interval
        return f"{self.confidence * 100:g} % interval {format_number(low)} to {format_number(high)}"

    def verdict(self, rule: str, passed: bool, reason: str) -> Verdict:
        """Return the verdict of a rule on this difference."""
        return Verdict(
            rule,
            passed,
            finite_or_none(self.value),
            finite_or_none(self.bound),
            finite_interval_or_none(self.interval),
            reason,
        )


def format_number(number: float, digits: int = 3) -> str:
    """Format a number for a message."""
    # Adding 0 turns -0.0 into 0.
    return f"{number + 0.0:.{digits}g}"


def distinct_figures(value: float, bound: float) -> tuple[str, str]:
    """Format both numbers with enough digits to distinguish them, so that no message says 0.85 is below 0.85."""
    digits = 3
    while value != bound and format_number(value, digits) == format_number(bound, digits):
        digits += 1
    return format_number(value, digits), format_number(bound, digits)
