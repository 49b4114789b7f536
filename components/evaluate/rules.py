"""The rules of the blessing, as pure logic over predictions: what passes, what does not, and why.

A candidate is blessed if every rule passes. Comparisons are decided by the paired bootstrap interval of the difference
(see `benison.components.evaluate.bootstrap`), never by the bare difference, so that chance neither blesses nor refuses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate.bootstrap import Interval, paired_difference
from benison.components.evaluate.metrics import Costs, Metric, metric_for
from benison.components.evaluate.verdicts import BlessingReport, Verdict, finite_or_none, finite_interval_or_none
from benison.serving.errors import DataError, UsageError

NOTHING_SERVED = "nothing is served yet"


@dataclass(frozen=True)
class Rule:
    """A rule beside the two that always hold: a bound that a metric keeps, or a comparison.

    Attributes:
        metric: its name.
        min: the least value allowed, itself included.
        max: the most allowed, itself included.
        better_than: `best_member` or `served`: the ensemble must be better by `by`, for sure.
        not_worse_than: the same: it must not be worse by more than `by`, for sure.
        by: a margin in the metric's own unit, 0 or more.
        slices: columns; the rule must hold for the rows of each of their values, instead of for all rows.
        rows: values with fewer rows than this are not judged.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    better_than: str | None = None
    not_worse_than: str | None = None
    by: float = 0.0
    slices: tuple[str, ...] = ()
    rows: int = 50

    @property
    def name(self) -> str:
        """As verdicts have it, such as `accuracy >= 0.85` or `auc better than best_member by 0.01`.

        Raises:
            UsageError: it has neither a bound nor a comparison.
        """
        return " ".join([self._demand, *(["by", ", ".join(self.slices)] if self.slices else [])])

    @property
    def _demand(self) -> str:
        margin = f" by {self.by:g}" if self.by else ""
        if self.better_than:
            return f"{self.metric} better than {self.better_than}{margin}"
        if self.not_worse_than:
            return f"{self.metric} not worse than {self.not_worse_than}{margin}"
        if self.min is None and self.max is None:
            raise UsageError(f"the rule on {self.metric} has no bound; give it `min`, `max`, `better_than` …")
        low = f"{self.min:.12g} <= " if self.min is not None else ""
        if low and self.max is None:
            return f"{self.metric} >= {self.min:.12g}"
        return f"{low}{self.metric} <= {self.max:.12g}"


def judge(
    *,
    problem: str,
    metric: str,
    labels: NDArray,
    ensemble: NDArray,
    reference: NDArray,
    members: Mapping[str, NDArray] = MappingProxyType({}),
    served: NDArray | None = None,
    no_baseline: str = NOTHING_SERVED,
    rules: Sequence[Rule] = (),
    slices: Mapping[str, NDArray] = MappingProxyType({}),
    costs: Costs | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> BlessingReport:
    """Judges a candidate by its predictions on the split `test`.

    Args:
        problem: `binary`, `multiclass` or `regression`.
        metric: The pipeline's metric; the two comparisons that always hold use it.
        labels: int64 [rows], class ids; for regression float [rows, outputs].
        ensemble: The candidate's float [rows, classes], probabilities; for regression float [rows, outputs].
        reference: Of the *training* labels: float [classes], class frequencies; for regression float [outputs], means.
            The reference model answers them for every row.
        members: The members' predictions on the same rows, by name.
        served: The served version's predictions on the same rows; None where there is no baseline.
        no_baseline: Why there is none, as a clause such as "nothing is served yet".
        rules: What is asked beside.
        slices: A text for each row [rows], by column.
        costs: What mistakes cost; the metric `cost` needs them.
        confidence: Of the intervals, between 0 and 1. Where a comparison is made for several slices, all of them
            together keep it (Bonferroni).
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One verdict per rule: better than the reference, not worse than what is served, then those asked for. A split
        that cannot decide (under 2 rows, one class only) refuses, and says so.

    Raises:
        UsageError: A metric that the problem does not have, a rule that asks for nothing, or a column without slices.
        DataError: Arrays whose shapes do not fit each other.
    """
    judged_by = metric_for(metric, problem, costs)
    asked = [(metric_for(rule.metric, problem, costs), rule, rule.name) for rule in rules]
    comparison = _Comparison(judged_by, labels, ensemble, confidence, resamples, seed)
    undecidable = _undecidable_reason(problem, labels)
    verdicts = [
        _better_than_reference(problem, comparison, reference, undecidable),
        _not_worse_than_served(comparison, served, no_baseline, undecidable),
    ]
    test = _TestRows(problem, labels, ensemble, members, served, no_baseline, slices)
    for metric_of_rule, rule, name in asked:
        on = replace(comparison, metric=metric_of_rule)
        if undecidable:
            verdicts.append(_refuse(name, undecidable))
        elif rule.slices:
            verdicts.append(_apply_by_slice(rule, on, test))
        else:
            verdicts.append(_apply_rule(rule, on, test))
    return BlessingReport(all(verdict.passed for verdict in verdicts), tuple(verdicts))


@dataclass(frozen=True)
class _TestRows:
    """Everything that predicts, on the same rows."""

    problem: str
    labels: NDArray
    ensemble: NDArray
    members: Mapping[str, NDArray]
    served: NDArray | None
    no_baseline: str
    slices: Mapping[str, NDArray]

    def of(self, here: NDArray) -> _TestRows:
        """The rows of a mask [rows]."""
        return replace(
            self,
            labels=self.labels[here],
            ensemble=self.ensemble[here],
            members={name: values[here] for name, values in self.members.items()},
            served=None if self.served is None else self.served[here],
        )

    def best_member(self, metric: Metric) -> tuple[str, NDArray] | None:
        """The member with the best metric on these rows; None where it is undefined for all."""
        sign = 1 if metric.greater_is_better else -1
        figures = {name: sign * metric.compute(self.labels, values) for name, values in self.members.items()}
        defined = {name: figure for name, figure in figures.items() if math.isfinite(figure)}
        if not defined:
            return None
        best = max(defined, key=lambda name: defined[name])
        return best, self.members[best]


def _apply_rule(rule: Rule, on: _Comparison, test: _TestRows) -> Verdict:
    """What a rule says of some rows, whole."""
    against = rule.better_than or rule.not_worse_than
    if against is None:
        return _check_bounds(on.metric, rule, test.labels, test.ensemble)
    if against == "served":
        if test.served is None:
            return Verdict(rule.name, True, None, None, None, test.no_baseline)
        whose, other = "the served version's", test.served
    else:
        best = test.best_member(on.metric)
        if best is None:
            return _refuse(rule.name, f"{on.metric.name} is undefined for every member")
        whose, other = f"{best[0]}'s", best[1]
    compared = replace(on, labels=test.labels, ensemble=test.ensemble).to(other)
    if compared.undefined:
        return compared.verdict(rule.name, False, compared.undefined)
    passed = compared.interval.low > rule.by if rule.better_than else compared.interval.high >= -rule.by
    value, bound = _distinct_figures(compared.value, compared.bound)
    wanted = f"lie above {rule.by:g}" if rule.better_than else f"reach {-rule.by:g}"
    tail = "" if passed else f", and its interval would have to {wanted}"
    gain = f"the gain is {_format_number(compared.gain)} ({compared.bounds}){tail}"
    return compared.verdict(rule.name, passed, f"{on.metric.name} {value} against {whose} {bound}: {gain}")


def _apply_by_slice(rule: Rule, on: _Comparison, test: _TestRows) -> Verdict:
    """What a rule says of each slice; the verdict carries the figures of the worst."""
    judged, small = [], 0
    cuts = [(f"{column}={value or '(missing)'}", here) for column, value, here in _slice_masks(rule, test)]
    large = [(name, here) for name, here in cuts if here.sum() >= rule.rows]
    one_of_many = replace(on, confidence=1 - (1 - on.confidence) / max(len(large), 1))
    for name, here in large:
        rows = test.of(here)
        if _undecidable_reason(test.problem, rows.labels):
            small += 1
            continue
        judged.append((name, int(here.sum()), _apply_rule(rule, one_of_many, rows)))
    left_out = len(cuts) - len(large) + small
    tail = f"; {left_out} of fewer rows than {rule.rows}, or of one class, were not judged" if left_out else ""
    if not judged:
        return Verdict(rule.name, True, None, None, None, f"no slice to judge{tail}")
    refused = [entry for entry in judged if not entry[2].passed]
    name, rows_of_worst, worst = min(refused or judged, key=lambda entry: _margin(on.metric, entry[2]))
    said = f"{len(refused)} of {len(judged)} slices fail" if refused else f"all {len(judged)} slices pass"
    reason = f"{said}; the {'worst' if refused else 'closest'} is {name} ({rows_of_worst} rows): {worst.reason}{tail}"
    return replace(worst, rule=rule.name, passed=not refused, reason=reason)


def _slice_masks(rule: Rule, test: _TestRows) -> Iterator[tuple[str, str, NDArray]]:
    """Column, value and mask [rows] of every slice.

    Raises:
        UsageError: no such slices were scored.
    """
    for column in rule.slices:
        if column not in test.slices:
            known = ", ".join(test.slices) or "none"
            raise UsageError(
                f"the rule {rule.name!r} needs the slices of {column}; `slices` of the config has: {known}"
            )
        values = test.slices[column]
        for value in sorted(set(values)):
            yield column, value, values == value


def _margin(metric: Metric, verdict: Verdict) -> float:
    """How far a verdict is from being refused, larger is better; only to put slices in order."""
    if verdict.interval is not None:
        return verdict.interval[1]
    if verdict.value is None or verdict.bound is None:
        return -math.inf
    return (verdict.value - verdict.bound) * (1 if metric.greater_is_better else -1)


def _undecidable_reason(problem: str, labels: NDArray) -> str | None:
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
        gain, interval = paired_difference(
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
        figures = f"{_format_number(self.value)} against {_format_number(self.bound)}"
        return f"{self.metric.name} is undefined on the split test ({figures}), and a number is needed to compare"

    @property
    def bounds(self) -> str:
        """The interval in words; it is that of the gain."""
        low, high = self.interval
        return f"{self.confidence * 100:g} % interval {_format_number(low)} to {_format_number(high)}"

    def verdict(self, rule: str, passed: bool, reason: str) -> Verdict:
        return Verdict(rule, passed, finite_or_none(self.value), finite_or_none(self.bound), finite_interval_or_none(self.interval), reason)


def _better_than_reference(problem: str, rules: _Comparison, reference: NDArray, undecidable: str | None) -> Verdict:
    """Better than the trivial model by more than chance: the interval of the gain lies wholly above 0."""
    regression = problem == "regression"
    rule, whose = ("better_than_mean", "the mean's") if regression else ("better_than_majority", "the majority class's")
    if undecidable:
        return _refuse(rule, undecidable)
    reference = np.asarray(reference)
    if reference.shape != rules.ensemble.shape[1:]:
        raise DataError(
            f"the reference has shape {reference.shape}, but the candidate predicts {rules.ensemble.shape[1:]} a row"
        )
    compared = rules.to(np.broadcast_to(reference, rules.ensemble.shape))
    if compared.undefined:
        return compared.verdict(rule, False, compared.undefined)
    value, bound = _distinct_figures(compared.value, compared.bound)
    side = "above" if rules.metric.greater_is_better else "below"
    if compared.interval.low > 0:
        reason = (
            f"{rules.metric.name} {value} is {side} {whose} {bound} by {_format_number(compared.gain)} ({compared.bounds})"
        )
        return compared.verdict(rule, True, reason)
    reason = (
        f"{rules.metric.name} {value} is not {side} {whose} {bound} by more than chance: "
        f"the gain is {_format_number(compared.gain)} ({compared.bounds}), and all of its interval would have to be above 0"
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
        return _refuse(rule, undecidable)
    compared = rules.to(served)
    if compared.undefined:
        return compared.verdict(rule, False, compared.undefined)
    value, bound = _distinct_figures(compared.value, compared.bound)
    against = f"{rules.metric.name} {value} against the served version's {bound}: "
    gain = f"the gain is {_format_number(compared.gain)} ({compared.bounds})"
    if compared.interval.high >= 0:
        return compared.verdict(rule, True, f"{against}{gain}, so it is not worse by more than chance")
    return compared.verdict(rule, False, f"{against}{gain}, and its interval would have to reach 0")


def _check_bounds(metric: Metric, rule: Rule, labels: NDArray, ensemble: NDArray) -> Verdict:
    """The metric keeps the bounds."""
    low, high = rule.min, rule.max
    value = metric.compute(labels, ensemble)
    bound = low if low is not None else high
    if not math.isfinite(value):
        return Verdict(
            rule.name, False, None, bound, None, f"{metric.name} is undefined on the split test, and a number is needed"
        )
    if low is not None and value < low:
        shown, least = _distinct_figures(value, low)
        return Verdict(rule.name, False, value, low, None, f"{metric.name} {shown} is below {least}, the least allowed")
    if high is not None and value > high:
        shown, most = _distinct_figures(value, high)
        return Verdict(rule.name, False, value, high, None, f"{metric.name} {shown} is above {most}, the most allowed")
    return Verdict(rule.name, True, value, bound, None, f"{metric.name} {_format_number(value)} {_within_bounds(low, high)}")


def _within_bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"lies from {low:g} to {high:g}"
    return f"is not below {low:g}" if low is not None else f"is not above {high:g}"


def _refuse(rule: str, reason: str) -> Verdict:
    return Verdict(rule, False, None, None, None, reason)


def _format_number(number: float, digits: int = 3) -> str:
    # Adding 0 turns the -0.0 of a flipped sign into 0.
    return f"{number + 0.0:.{digits}g}"


def _distinct_figures(value: float, bound: float) -> tuple[str, str]:
    """Both figures with as many digits as it takes to tell them apart, so that no sentence says 0.85 is below 0.85."""
    digits = 3
    while value != bound and _format_number(value, digits) == _format_number(bound, digits):
        digits += 1
    return _format_number(value, digits), _format_number(bound, digits)
