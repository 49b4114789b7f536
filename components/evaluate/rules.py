"""The rules of the blessing, as pure functions of predictions.

A candidate is blessed if it passes every rule. Comparisons use the paired bootstrap interval of the difference (see
`benison.components.evaluate.bootstrap`), never the difference alone, so that chance neither blesses nor refuses. A rule
that has too few rows to judge refuses, and names the number that would do (see `benison.components.evaluate.power`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate import permutation, power
from benison.components.evaluate.comparison import Comparison, Difference, distinct_figures, format_number
from benison.components.evaluate.judged_rows import JudgedRows, MemberChoice
from benison.components.evaluate.metrics import ACCURACY, MEDIAN_METRIC, MOST_LIKELY, Decision, Metric, metric_for
from benison.components.evaluate.verdicts import BlessingReport, Verdict
from benison.serving.errors import DataError, UsageError

NOTHING_SERVED = "nothing was served before it"  # true in a later run too, which finds the candidate served
TOO_FEW = "too few rows to judge"
# Of models that know nothing, 2.5 % are better than a guess at a confidence of 95 %: one in forty runs on noise.
GUESS_CONFIDENCE = 0.999
NO_CHOICE = MemberChoice(np.zeros(0), MappingProxyType({}))


@dataclass(frozen=True)
class Rule:
    """A rule in addition to the two default rules: a bound of a metric, or a comparison.

    Attributes:
        metric: name of the metric.
        min: smallest allowed value, inclusive.
        max: largest allowed value, inclusive.
        better_than: `best_member` or `served`: the ensemble must be significantly better, by more than `by`.
        not_worse_than: `best_member` or `served`: the ensemble must not be significantly worse by more than `by`.
        by: margin in the unit of the metric, at least 0.
        slices: columns; the rule must hold for the rows of each of their values, instead of for all rows.
        rows: slices with fewer rows, of equal weight, are not judged.
        warns: a candidate that does not pass is blessed nevertheless, with a warning.
    """

    metric: str
    min: float | None = None
    max: float | None = None
    better_than: str | None = None
    not_worse_than: str | None = None
    by: float = 0.0
    slices: tuple[str, ...] = ()
    rows: int = 50
    warns: bool = False

    @property
    def name(self) -> str:
        """Name in verdicts, such as `accuracy >= 0.85` or `auc better than best_member by 0.01`.

        Raises:
            UsageError: the rule has neither a bound nor a comparison.
        """
        return " ".join([self._condition, *(["by", ", ".join(self.slices)] if self.slices else [])])

    @property
    def _condition(self) -> str:
        margin = f" by {self.by:g}" if self.by else ""
        if self.better_than:
            return f"{self.metric} better than {self.better_than}{margin}"
        if self.not_worse_than:
            return f"{self.metric} not worse than {self.not_worse_than}{margin}"
        if self.min is None and self.max is None:
            raise UsageError(
                f"the rule on {self.metric} has no bound; add `min`, `max`, `better_than` or `not_worse_than`"
            )
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
    choice: MemberChoice = NO_CHOICE,
    served: NDArray | None = None,
    no_baseline: str = NOTHING_SERVED,
    rules: Sequence[Rule] = (),
    slices: Mapping[str, NDArray] = MappingProxyType({}),
    decision: Decision = MOST_LIKELY,
    own: Mapping[str, Metric] = MappingProxyType({}),
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    weights: NDArray | None = None,
) -> BlessingReport:
    """Judge a candidate by its predictions on the split `test`.

    Args:
        problem: `binary`, `multiclass` or `regression`.
        metric: metric of the pipeline; the two default rules use it.
        labels: int64 [rows], class ids; for regression float [rows, outputs].
        ensemble: predictions of the candidate: probabilities float [rows, classes]; for regression float
            [rows, outputs].
        reference: prediction of the reference model for every row: frequencies of the *training* labels float
            [classes]; for regression their means float [outputs], or medians if the metric is `mae`.
        members: predictions of the members for the same rows, by name.
        choice: the members' predictions for other rows, to choose `best_member`.
        served: predictions of the served version for the same rows; None if there is no baseline.
        no_baseline: the reason why there is no baseline, as a clause such as "nothing was served before it".
        rules: additional rules.
        slices: a text for each row [rows], by column.
        decision: the candidate's decision, which `accuracy`, `f1`, `precision`, `recall` and `cost` measure for every
            model; `cost` requires costs.
        own: the user's own metrics, by name.
        confidence: confidence level of the intervals, between 0 and 1. For a comparison by slice, it is the level of
            all slices together (Bonferroni). The comparison with the reference uses at least `GUESS_CONFIDENCE`, and
            with few rows a permutation test too.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        weights: sample weights float [rows], above 0; None if all rows count the same.

    Returns:
        One verdict per rule: better than the reference, not worse than the served version, then the additional rules;
        and a warning if probabilities say less than the classes' frequencies.
        If the split is too small to decide, such as fewer than 2 rows, or one class, every rule refuses.

    Raises:
        UsageError: a metric that the problem does not have, a rule without a condition, or a column without slices.
        DataError: arrays whose shapes do not match.
    """
    main_metric = metric_for(metric, problem, decision, own)
    named_rules = [(metric_for(rule.metric, problem, decision, own), rule, rule.name) for rule in rules]
    comparison = Comparison(main_metric, labels, ensemble, confidence, resamples, seed, weights)
    guess = np.asarray(reference)
    test = JudgedRows(problem, labels, ensemble, guess, members, served, no_baseline, slices, choice, weights)
    undecidable = _is_undecidable(problem, labels)
    verdicts = [_better_than_reference(comparison, test), _not_worse_than_served(comparison, test)]
    for rule_metric, rule, name in named_rules:
        by_metric = replace(comparison, metric=rule_metric)
        if undecidable:
            verdict = _undecided(name, by_metric, test)
        elif rule.slices:
            verdict = _apply_by_slice(rule, by_metric, test)
        else:
            verdict = _apply_rule(rule, by_metric, test)
        verdicts.append(replace(verdict, warning=rule.warns and not verdict.passed))
    if problem != "regression" and not undecidable:
        verdicts += _probabilities(replace(comparison, metric=metric_for("log_loss", problem)), test)
    return BlessingReport(all(verdict.passed or verdict.warning for verdict in verdicts), tuple(verdicts))


def _apply_rule(rule: Rule, comparison: Comparison, test: JudgedRows) -> Verdict:
    """Apply a rule to all of the given rows."""
    metric = comparison.metric
    opponent = rule.better_than or rule.not_worse_than
    if opponent is None:
        return _enough_for_bound(rule, comparison, test, _check_bounds(metric, rule, test))
    if opponent == "served":
        if test.served is None:
            return Verdict(rule.name, True, None, None, None, test.no_baseline)
        whose, other = "the served version's", test.served
    else:
        best = test.best_member(metric)
        if best is None:
            return _refuse(rule.name, f"{metric.name} is undefined for every member")
        whose, other = f"{best[0]}'s", best[1]
    here = replace(comparison, labels=test.labels, ensemble=test.ensemble, weights=test.weights)
    difference = here.to(other)
    if difference.undefined:
        return difference.verdict(rule.name, False, difference.undefined)
    passed = difference.interval.low > rule.by if rule.better_than else difference.interval.high >= -rule.by
    value, bound = distinct_figures(difference.value, difference.bound)
    required = f"be above {rule.by:g}" if rule.better_than else f"reach {-rule.by:g}"
    tail = "" if passed else f"; its interval must {required}"
    gain = f"the gain is {format_number(difference.gain)} ({difference.bounds}){tail}"
    verdict = difference.verdict(rule.name, passed, f"{metric.name} {value} against {whose} {bound}: {gain}")
    # A warning needs no proof of power: without it, nothing would be refused either.
    return verdict if rule.warns else _enough_for_loss(verdict, here, test, difference, other)


def _apply_by_slice(rule: Rule, comparison: Comparison, test: JudgedRows) -> Verdict:
    """Apply a rule to each slice; the verdict has the figures of the worst slice."""
    judged: list[tuple[str, int, Verdict]] = []
    slices = [(f"{column}={value or '(missing)'}", mask) for column, value, mask in _slice_masks(rule, test)]
    large = [(name, mask) for name, mask in slices if test.select(mask).effective >= rule.rows]
    corrected = replace(comparison, confidence=1 - (1 - comparison.confidence) / max(len(large), 1))
    for name, mask in large:
        rows = test.select(mask)
        if _is_undecidable(test.problem, rows.labels):
            continue
        verdict = _apply_rule(rule, corrected, rows)
        if not verdict.too_few_rows:
            judged.append((name, int(mask.sum()), verdict))
    skipped = len(slices) - len(judged)
    tail = f"; not judged: {skipped} with fewer than {rule.rows} rows, only one class or too few rows to tell"
    tail = tail if skipped else ""
    if not judged:
        return _no_slice(rule, slices, corrected, test)
    refused = [entry for entry in judged if not entry[2].passed]
    name, rows_of_worst, worst = min(refused or judged, key=lambda entry: _margin(comparison.metric, entry[2]))
    count = f"{len(refused)} of {len(judged)} slices fail" if refused else f"all {len(judged)} slices pass"
    reason = f"{count}; the {'worst' if refused else 'closest'} is {name} ({rows_of_worst} rows): {worst.reason}{tail}"
    return replace(worst, rule=rule.name, passed=not refused, reason=reason)


def _no_slice(rule: Rule, slices: list[tuple[str, NDArray]], comparison: Comparison, test: JudgedRows) -> Verdict:
    """Refuse a rule that found no slice to judge, with the number of rows that one needs."""
    if not slices:
        return _refuse(rule.name, f"{TOO_FEW}: `test` has no row")
    name, mask = max(slices, key=lambda entry: int(entry[1].sum()))
    largest, rows = int(mask.sum()), test.select(mask)
    needed: int | None = None
    size = f"{largest} rows"
    if rows.weights is not None:
        size += f", which tell as much as {rows.effective:.1f} of equal weight"
    if rows.effective < rule.rows:
        needed = math.ceil(rule.rows * largest / rows.effective)
        size = f"{size}, and a slice needs {rule.rows} (`rows` of the rule)"
    elif found := rows.loss_shortage(comparison) or rows.guess_shortage(comparison):
        needed, size = found.rows, found.text
    all_rows = -(-len(test.labels) * needed // largest) if needed else None
    about = f"; about {all_rows} rows of `test` would do" if all_rows else ""
    reason = f"{TOO_FEW}: none of {len(slices)} slices can be judged; the largest, {name}, has {size}{about}"
    return Verdict(rule.name, False, None, None, None, reason, too_few_rows=True, rows_needed=all_rows)


def _slice_masks(rule: Rule, test: JudgedRows) -> Iterator[tuple[str, str, NDArray]]:
    """Yield column, value and mask [rows] of every slice.

    Raises:
        UsageError: the scores do not contain a column of the rule.
    """
    for column in rule.slices:
        if column not in test.slices:
            known = ", ".join(test.slices) or "none"
            raise UsageError(f"the rule {rule.name!r} requires {column} in `slices` of the config, which has: {known}")
        values = test.slices[column]
        for value in sorted(set(values)):
            yield column, value, values == value


def _margin(metric: Metric, verdict: Verdict) -> float:
    """Return the distance of a verdict from a refusal, larger is better; used only to sort slices."""
    if verdict.interval is not None:
        return verdict.interval[1]
    if verdict.value is None or verdict.bound is None:
        return -math.inf
    return (verdict.value - verdict.bound) * (1 if metric.greater_is_better else -1)


def _is_undecidable(problem: str, labels: NDArray) -> bool:
    """Return True if no metric can be decided on these labels."""
    return len(labels) < 2 or (problem != "regression" and len(np.unique(labels)) < 2)


def _undecided(rule: str, comparison: Comparison, test: JudgedRows) -> Verdict:
    found = test.guess_shortage(comparison)
    assert found is not None  # fewer than 2 rows, or one class, are never enough
    return _too_few(Verdict(rule, False, None, None, None, ""), found)


def _better_than_reference(comparison: Comparison, test: JudgedRows) -> Verdict:
    """Require that the candidate is better than the reference beyond chance: the interval of the gain is above 0."""
    regression = test.problem == "regression"
    guess = "median" if comparison.metric.name == MEDIAN_METRIC else "mean" if regression else "majority"
    rule, whose = f"better_than_{guess}", f"the {guess}{'' if regression else ' class'}'s"
    if comparison.metric.of_decisions and comparison.metric.name != ACCURACY:
        whose = "that of the best class for all rows,"  # for f1, the positive class, even if it is rare
    certain = replace(comparison, confidence=max(comparison.confidence, GUESS_CONFIDENCE))
    if _is_undecidable(test.problem, test.labels):
        return _undecided(rule, certain, test)
    if test.reference.shape != comparison.ensemble.shape[1:]:
        raise DataError(
            f"the reference has shape {test.reference.shape}, but the candidate predicts "
            f"{comparison.ensemble.shape[1:]} per row"
        )
    difference = certain.to(test.guess(comparison.metric))
    if difference.undefined:
        return difference.verdict(rule, False, difference.undefined)
    name = comparison.metric.name
    value, bound = distinct_figures(difference.value, difference.bound)
    side = "above" if comparison.metric.greater_is_better else "below"
    gain = format_number(difference.gain)
    if difference.interval.low > 0:
        fact = f"{name} {value} is {side} {whose} {bound} by {gain} ({difference.bounds})"
        doubt = _doubt(test.problem, certain)
        verdict = difference.verdict(rule, not doubt, fact + doubt)
    else:
        reason = (
            f"{name} {value} is not significantly {side} {whose} {bound}: the gain is {gain} ({difference.bounds}); "
            "its whole interval must be above 0"
        )
        verdict = difference.verdict(rule, False, reason)
    found = test.guess_shortage(certain)
    return _too_few(verdict, found) if found else verdict


def _doubt(problem: str, comparison: Comparison) -> str:
    """Return that shuffled predictions are as good, as the end of a sentence; '' if they are not."""
    metric, labels = comparison.metric, comparison.labels
    if not permutation.are_few(problem, labels, comparison.weights):
        return ""
    shuffles = round(1 / (1 - comparison.confidence)) - 1
    count = permutation.as_good_by_chance(
        metric, labels, comparison.ensemble, shuffles, comparison.seed, comparison.weights
    )
    if not count:
        return ""
    return f", but so are {count} of {shuffles} shuffles of the predictions"


def _not_worse_than_served(comparison: Comparison, test: JudgedRows) -> Verdict:
    """Require that the candidate is not significantly worse than the served version: the interval reaches 0."""
    rule = "not_worse_than_served"
    if test.served is None:
        return Verdict(rule, True, None, None, None, test.no_baseline)
    if _is_undecidable(test.problem, test.labels):
        return _undecided(rule, comparison, test)
    difference = comparison.to(test.served)
    if difference.undefined:
        return difference.verdict(rule, False, difference.undefined)
    value, bound = distinct_figures(difference.value, difference.bound)
    figures = f"{comparison.metric.name} {value} against the served version's {bound}: "
    gain = f"the gain is {format_number(difference.gain)} ({difference.bounds})"
    if difference.interval.high >= 0:
        verdict = difference.verdict(rule, True, f"{figures}{gain}, so it is not significantly worse")
        return _enough_for_loss(verdict, comparison, test, difference, test.served)
    return difference.verdict(rule, False, f"{figures}{gain}; its interval must reach 0")


def _probabilities(comparison: Comparison, test: JudgedRows) -> list[Verdict]:
    """Warn if the probabilities say less than the classes' frequencies: the order of the rows may be good all the same.

    `auc` and `accuracy` do not see this.
    """
    difference = comparison.to(np.broadcast_to(test.reference, test.ensemble.shape))
    if difference.undefined or difference.interval.high >= 0:
        return []
    value, bound = distinct_figures(difference.value, difference.bound)
    reason = (
        f"log_loss {value} is worse than {bound}, that of the classes' frequencies in the training rows "
        f"({difference.bounds}): do not use the probabilities as such; compare the members' calibration and log_loss"
    )
    return [replace(difference.verdict("probabilities", False, reason), warning=True)]


def _enough_for_loss(
    verdict: Verdict, comparison: Comparison, test: JudgedRows, difference: Difference, other: NDArray
) -> Verdict:
    """Return the verdict of a comparison, or that a pass means nothing, because a large loss would pass too.

    The interval is evidence enough if it excludes that the candidate has lost half of the other model's gain over the
    guess.
    """
    if not verdict.passed or difference.interval.low >= 0:
        return verdict
    metric = comparison.metric
    gap = test.compute(metric, other) - test.compute(metric, test.guess(metric))
    knowledge = gap if metric.greater_is_better else -gap
    if difference.interval.low > -knowledge / 2:
        return verdict
    found = test.loss_shortage(comparison)
    return _too_few(verdict, found) if found else verdict


def _enough_for_bound(rule: Rule, comparison: Comparison, test: JudgedRows, verdict: Verdict) -> Verdict:
    """Return the verdict of a bound, or that a pass means nothing, because shuffled predictions would pass too."""
    metric = comparison.metric

    def passes(value: float) -> bool:
        return (rule.min is None or value >= rule.min) and (rule.max is None or value <= rule.max)

    # A bound that the guess satisfies does not ask for knowledge.
    if not verdict.passed or passes(test.compute(metric, test.guess(metric))):
        return verdict
    if power.refuses_shuffled(metric, test.labels, test.ensemble, passes, test.weights):
        return verdict
    found = test.guess_shortage(comparison)
    return _too_few(verdict, found) if found else verdict


def _too_few(verdict: Verdict, found: power.Shortage) -> Verdict:
    """Turn a verdict into one that the rows are too few to judge; its reason follows."""
    fact = f" ({verdict.reason})" if verdict.reason else ""
    reason = f"{TOO_FEW}: `test` has {found.text}{fact}"
    return replace(verdict, passed=False, reason=reason, too_few_rows=True, rows_needed=found.rows)


def _check_bounds(metric: Metric, rule: Rule, test: JudgedRows) -> Verdict:
    """Check a metric against the bounds of a rule."""
    low, high = rule.min, rule.max
    value = test.compute(metric, test.ensemble)
    bound = low if low is not None else high
    if not math.isfinite(value):
        return Verdict(rule.name, False, None, bound, None, f"{metric.name} is undefined on the split test")
    if low is not None and value < low:
        figure, minimum = distinct_figures(value, low)
        return Verdict(rule.name, False, value, low, None, f"{metric.name} {figure} is below the minimum {minimum}")
    if high is not None and value > high:
        figure, maximum = distinct_figures(value, high)
        return Verdict(rule.name, False, value, high, None, f"{metric.name} {figure} is above the maximum {maximum}")
    return Verdict(
        rule.name, True, value, bound, None, f"{metric.name} {format_number(value)} {_within_bounds(low, high)}"
    )


def _within_bounds(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"is between {low:g} and {high:g}"
    return f"is at least {low:g}" if low is not None else f"is at most {high:g}"


def _refuse(rule: str, reason: str) -> Verdict:
    return Verdict(rule, False, None, None, None, reason)
