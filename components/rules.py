"""The rules of the blessing, as pure logic over predictions: what passes, what does not, and why.

A candidate is blessed if every rule passes. Comparisons are decided by the paired bootstrap interval of the difference
(see `components.bootstrap`), never by the bare difference, so that chance neither blesses nor refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.bootstrap import Interval, difference
from components.metrics import Costs, Metric, metric_for
from serving.errors import DataError, UsageError

NOTHING_SERVED = "nothing is served yet"


class Limits(Protocol):
    """What a threshold must have; the config's own object fits as it is."""

    @property
    def metric(self) -> str: ...
    @property
    def min(self) -> float | None: ...
    @property
    def max(self) -> float | None: ...


@dataclass(frozen=True)
class Threshold:
    """A bound that a metric has to keep: `min`, `max` or both, the bound itself included."""

    metric: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What one rule says.

    Attributes:
        rule: Its name, such as `better_than_majority` or `accuracy >= 0.85`.
        passed: Whether the candidate may pass.
        value: The candidate's metric; None where it is undefined or was not needed.
        bound: What it was held against: the other model's metric, or the threshold.
        interval: Of the difference to that model, positive where the candidate is the better one.
        reason: One sentence with the figures.
    """

    rule: str
    passed: bool
    value: float | None
    bound: float | None
    interval: tuple[float, float] | None
    reason: str


@dataclass(frozen=True)
class Blessing:
    """The verdict of every rule, and whether all of them passed."""

    blessed: bool
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data for strict JSON: what is not a finite number becomes None."""
        return {"blessed": self.blessed, "verdicts": [_verdict_to_json(verdict) for verdict in self.verdicts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Blessing:
        """The blessing that `to_json` wrote.

        Raises:
            DataError: Not what `to_json` writes.
        """
        try:
            return cls(bool(data["blessed"]), tuple(_verdict_from_json(verdict) for verdict in data["verdicts"]))
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"not a blessing as `benison` writes it ({error!r}); run the pipeline again") from error


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    interval = _finite_interval(verdict.interval)
    return asdict(verdict) | {
        "value": _finite(verdict.value),
        "bound": _finite(verdict.bound),
        "interval": list(interval) if interval else None,
    }


def _verdict_from_json(data: Mapping[str, Any]) -> Verdict:
    interval = data["interval"]
    return Verdict(**{**data, "interval": None if interval is None else (float(interval[0]), float(interval[1]))})


def judge(
    *,
    problem: str,
    metric: str,
    labels: NDArray,
    ensemble: NDArray,
    reference: NDArray,
    served: NDArray | None = None,
    no_baseline: str = NOTHING_SERVED,
    thresholds: Sequence[Limits] = (),
    costs: Costs | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Blessing:
    """Judges a candidate by its predictions on the split `test`.

    Args:
        problem: `binary`, `multiclass` or `regression`.
        metric: The pipeline's metric; the two comparisons use it.
        labels: int64 [rows], class ids; for regression float [rows, outputs].
        ensemble: The candidate's float [rows, classes], probabilities; for regression float [rows, outputs].
        reference: Of the *training* labels: float [classes], class frequencies; for regression float [outputs], means.
            The reference model answers them for every row.
        served: The served version's predictions on the same rows; None where there is no baseline.
        no_baseline: Why there is none, as a clause such as "nothing is served yet".
        thresholds: Bounds to keep, beside the comparisons.
        costs: What mistakes cost; the metric `cost` needs them.
        confidence: Of the intervals, between 0 and 1.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One verdict per rule: better than the reference, not worse than what is served, then the thresholds. A split
        that cannot decide (under 2 rows, one class only) refuses, and says so.

    Raises:
        UsageError: A metric that the problem does not have, or a threshold without bounds.
        DataError: Arrays whose shapes do not fit each other.
    """
    judged_by = metric_for(metric, problem, costs)
    limits = [(metric_for(limit.metric, problem, costs), limit) for limit in thresholds]
    rules = _Comparison(judged_by, labels, ensemble, confidence, resamples, seed)
    undecidable = _undecidable(problem, labels)
    verdicts = [
        _better_than_reference(problem, rules, reference, undecidable),
        _not_worse_than_served(rules, served, no_baseline, undecidable),
        *(_threshold(limited, limit, labels, ensemble, undecidable) for limited, limit in limits),
    ]
    return Blessing(all(verdict.passed for verdict in verdicts), tuple(verdicts))


def _undecidable(problem: str, labels: NDArray) -> str | None:
    """Why no rule can be decided on these labels, as a sentence; None if it can."""
    if len(labels) < 2:
        return f"the split test has {len(labels)} row{'' if len(labels) == 1 else 's'}, and at least 2 are needed"
    if problem != "regression" and len(np.unique(labels)) < 2:
        return f"all {len(labels)} rows of the split test are of one class, and at least 2 classes are needed"
    return None


@dataclass(frozen=True)
class _Comparison:
    """The candidate on the split `test`, ready to be compared to other models by one metric."""

    metric: Metric
    labels: NDArray
    ensemble: NDArray
    confidence: float
    resamples: int
    seed: int

    def to(self, other: NDArray) -> _Difference:
        gain, interval = difference(
            self.metric, self.labels, self.ensemble, other, self.confidence, self.resamples, self.seed
        )
        value, bound = (self.metric.compute(self.labels, model) for model in (self.ensemble, other))
        return _Difference(self.metric, value, bound, gain, interval, self.confidence)


@dataclass(frozen=True)
class _Difference:
    """The candidate's metric, another model's, and the gain with its interval (positive: the candidate is better)."""

    metric: Metric
    value: float
    bound: float
    gain: float
    interval: Interval
    confidence: float

    @property
    def undefined(self) -> str | None:
        if math.isfinite(self.gain) and math.isfinite(self.interval.low):
            return None
        figures = f"{_figure(self.value)} against {_figure(self.bound)}"
        return f"{self.metric.name} is undefined on the split test ({figures}), and a number is needed to compare"

    @property
    def bounds(self) -> str:
        """The interval in words; it is that of the gain."""
        low, high = self.interval
        return f"{self.confidence * 100:g} % interval {_figure(low)} to {_figure(high)}"

    def verdict(self, rule: str, passed: bool, reason: str) -> Verdict:
        return Verdict(rule, passed, _finite(self.value), _finite(self.bound), _finite_interval(self.interval), reason)


def _better_than_reference(problem: str, rules: _Comparison, reference: NDArray, undecidable: str | None) -> Verdict:
    """Better than the trivial model by more than chance: the interval of the gain lies wholly above 0."""
    regression = problem == "regression"
    rule, whose = ("better_than_mean", "the mean's") if regression else ("better_than_majority", "the majority class's")
    if undecidable:
        return _refused(rule, undecidable)
    reference = np.asarray(reference)
    if reference.shape != rules.ensemble.shape[1:]:
        raise DataError(
            f"the reference has shape {reference.shape}, but the candidate predicts {rules.ensemble.shape[1:]} a row"
        )
    compared = rules.to(np.broadcast_to(reference, rules.ensemble.shape))
    if compared.undefined:
        return compared.verdict(rule, False, compared.undefined)
    value, bound = _apart(compared.value, compared.bound)
    side = "above" if rules.metric.greater_is_better else "below"
    if compared.interval.low > 0:
        reason = (
            f"{rules.metric.name} {value} is {side} {whose} {bound} by {_figure(compared.gain)} ({compared.bounds})"
        )
        return compared.verdict(rule, True, reason)
    reason = (
        f"{rules.metric.name} {value} is not {side} {whose} {bound} by more than chance: "
        f"the gain is {_figure(compared.gain)} ({compared.bounds}), and all of its interval would have to be above 0"
    )
    return compared.verdict(rule, False, reason)


def _not_worse_than_served(
    rules: _Comparison, served: NDArray | None, no_baseline: str, undecidable: str | None
) -> Verdict:
    """Not worse than what is served by more than chance: the interval of the gain is not wholly below 0."""
    rule = "not_worse_than_served"
    if served is None:
        return Verdict(rule, True, None, None, None, no_baseline)
    if undecidable:
        return _refused(rule, undecidable)
    compared = rules.to(served)
    if compared.undefined:
        return compared.verdict(rule, False, compared.undefined)
    value, bound = _apart(compared.value, compared.bound)
    against = f"{rules.metric.name} {value} against the served version's {bound}: "
    gain = f"the gain is {_figure(compared.gain)} ({compared.bounds})"
    if compared.interval.high >= 0:
        return compared.verdict(rule, True, f"{against}{gain}, so it is not worse by more than chance")
    return compared.verdict(rule, False, f"{against}{gain}, and its interval would have to reach 0")


def _threshold(metric: Metric, limit: Limits, labels: NDArray, ensemble: NDArray, undecidable: str | None) -> Verdict:
    """The metric keeps the bounds."""
    low, high = limit.min, limit.max
    rule = _threshold_name(metric.name, low, high)
    if undecidable:
        return _refused(rule, undecidable)
    value = metric.compute(labels, ensemble)
    bound = low if low is not None else high
    if not math.isfinite(value):
        return Verdict(
            rule, False, None, bound, None, f"{metric.name} is undefined on the split test, and a number is needed"
        )
    if low is not None and value < low:
        shown, least = _apart(value, low)
        return Verdict(rule, False, value, low, None, f"{metric.name} {shown} is below {least}, the least allowed")
    if high is not None and value > high:
        shown, most = _apart(value, high)
        return Verdict(rule, False, value, high, None, f"{metric.name} {shown} is above {most}, the most allowed")
    return Verdict(rule, True, value, bound, None, f"{metric.name} {_figure(value)} {_kept(low, high)}")


def _kept(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"lies from {low:g} to {high:g}"
    return f"is not below {low:g}" if low is not None else f"is not above {high:g}"


def _threshold_name(metric: str, low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"{low:.12g} <= {metric} <= {high:.12g}"
    if low is not None:
        return f"{metric} >= {low:.12g}"
    if high is not None:
        return f"{metric} <= {high:.12g}"
    raise UsageError(f"the threshold on {metric} has no bound; give it `min`, `max` or both")


def _refused(rule: str, reason: str) -> Verdict:
    return Verdict(rule, False, None, None, None, reason)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _finite_interval(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return (interval[0], interval[1]) if interval is not None and all(map(math.isfinite, interval)) else None


def _figure(number: float, digits: int = 3) -> str:
    # Adding 0 turns the -0.0 of a flipped sign into 0.
    return f"{number + 0.0:.{digits}g}"


def _apart(value: float, bound: float) -> tuple[str, str]:
    """Both figures with as many digits as it takes to tell them apart, so that no sentence says 0.85 is below 0.85."""
    digits = 3
    while value != bound and _figure(value, digits) == _figure(bound, digits):
        digits += 1
    return _figure(value, digits), _figure(bound, digits)
