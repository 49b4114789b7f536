"""Fits a combiner to the members' outputs on rows that they were not trained on, and drops members that do not help.

The problems are small and convex, so the solution does not depend on the start. The penalty on the distance from equal
weights is chosen by cross-validation, so that thirty rows give almost the mean, and thirty thousand the optimum. A
member is dropped if its weight is small and the loss out of fold is no larger without it. If the best member alone is
better out of fold than the combination of all that remain, it is the ensemble.

All losses are compared row by row: the standard error is that of the differences. The loss of a heavy-tailed label
varies so much from row to row that otherwise even a bad combination would be within the error of the best one. Rows
count by their sample weights. Whether they are enough, their effective number decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import sample_weights
from benison.components.ensemble import opinion_pools
from benison.components.ensemble.opinion_pools import OpinionPool
from benison.serving.ensemble import (
    Combiner,
    Custom,
    MajorityVote,
    Mean,
    Median,
    SoftVote,
    Stack,
    Stacking,
    TemperatureScaling,
    WeightedMean,
)
from benison.serving.errors import DataError

FITTED = ("weighted_mean", "stacking")
FOLDS = 5
# Penalties on the distance from equal weights, strongest first: of two equally good ones the stronger one is used.
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4, 0.0)
_TWO_SIDED_95 = 1.96
_NEGLIGIBLE_SHARE, _SMALL_SHARE = 0.1, 0.5  # in units of an equal weight
_MIN_ROWS_PER_MEMBER = 50  # with fewer rows contributions cannot be measured, and no member is dropped


@dataclass(frozen=True)
class Contribution:
    """The contribution of one member.

    Attributes:
        member: name of the member.
        weight: weight in the combiner; None if the combiner has no weights.
        gain: difference between the loss out of fold (log loss, or squared error in units of the label's variance)
            without the member and with it; None if it was not measured.
        low: lower end of the gain's 95 % interval.
        high: upper end of the gain's 95 % interval.
        kept: the member is in the ensemble.
        why: reason, if the member was dropped.
    """

    member: str
    weight: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    kept: bool = True
    why: str = ""


@dataclass(frozen=True)
class Fit:
    """A fitted combiner and the details of the fit.

    Attributes:
        combiner: combiner of the members that were kept.
        calibration: calibration of the combined output; None if it was not requested.
        contributions: one for each member, including dropped ones.
        correlations: Pearson's correlation between the members' errors (label minus prediction), by member and member.
        rows: number of rows of the fit.
        is_fitted: the combiner has learnt parameters from the rows.
    """

    combiner: Combiner
    calibration: TemperatureScaling | None
    contributions: tuple[Contribution, ...]
    correlations: Mapping[str, Mapping[str, float | None]]
    rows: int
    is_fitted: bool = False

    @property
    def kept(self) -> tuple[str, ...]:
        """The members of the ensemble, in the order of the arguments."""
        return tuple(c.member for c in self.contributions if c.kept)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "rows": self.rows,
            "combiner": self.combiner.kind,
            "contributions": [asdict(c) for c in self.contributions],
            "correlations": {name: dict(row) for name, row in self.correlations.items()},
            "calibration": self.calibration.model_dump() if self.calibration else None,
        }


def fit(
    kind: str | Custom,
    problem: str,
    labels: NDArray,
    outputs: Mapping[str, NDArray],
    *,
    weights: Mapping[str, float] | None = None,
    drop: bool = True,
    calibrate: str = "none",
    seed: int = 0,
    row_weights: NDArray | None = None,
) -> Fit:
    """Fit a combiner to the rows of `blend`; the result is deterministic.

    Args:
        kind: `mean`, `weighted_mean`, `median`, `majority_vote`, `soft_vote`, `stacking`, or a custom combiner.
        problem: binary, multiclass or regression.
        labels: int64 [rows], class ids; for regression float [rows, outputs].
        outputs: by member, probabilities float [rows, classes] or predictions float [rows, outputs].
        weights: fixed weights, for combiners with weights; then nothing is fitted or dropped.
        drop: drop members that do not help, if the combiner is fitted.
        calibrate: `none`, `temperature` or `bias_corrected_temperature`.
        seed: seed of the folds.
        row_weights: sample weights float [rows], above 0; None if all rows count the same.

    Raises:
        DataError: `blend` has too few rows.
    """
    usable = {name: np.asarray(values, np.float64) for name, values in outputs.items()}
    if problem == "regression":
        labels = np.asarray(labels, np.float64)
    folds = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    rows = _Rows(labels, sample_weights.equal(len(labels)) if row_weights is None else row_weights, folds)
    is_fitted = not isinstance(kind, Custom) and weights is None and kind in FITTED
    if isinstance(kind, Custom) or not is_fitted:
        combiner = _unfitted_combiner(kind, weights)
        contributions = tuple(Contribution(name, weights.get(name, 0.0) if weights else None) for name in outputs)
    else:
        _require_rows(rows)
        combiner, contributions = _fit_and_drop(kind, problem, rows, usable, drop)
    kept = {c.member: usable[c.member] for c in contributions if c.kept}
    calibration = None
    if calibrate != "none":
        _require_rows(rows)
        calibration = _calibration(calibrate, rows, _combine(combiner, kept, problem))
    return Fit(combiner, calibration, contributions, _correlations(problem, rows, usable), len(labels), is_fitted)


def out_of_fold_answers(
    kind: str,
    problem: str,
    labels: NDArray,
    outputs: Mapping[str, NDArray],
    *,
    seed: int = 0,
    row_weights: NDArray | None = None,
) -> NDArray:
    """Answer each row with a combiner of the given members that is fitted to the other folds; arguments as for `fit`.

    Returns:
        float64 [rows, n].
    """
    folds = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    rows = _Rows(labels, sample_weights.equal(len(labels)) if row_weights is None else row_weights, folds)
    pool = opinion_pools.pool_for(kind, problem)
    usable = {name: np.asarray(values, np.float64) for name, values in outputs.items()}
    penalty = _solve(pool, rows, usable).penalty
    stacked = np.stack(list(usable.values()))
    answers = np.empty(stacked.shape[1:])
    for fold in range(FOLDS):
        out = folds == fold
        parameters = pool.fit(labels[~out], stacked[:, ~out], penalty, rows.weights[~out])
        coefficients, intercept = pool.stack(parameters, len(stacked))
        answers[out] = (coefficients[:, None, :] * stacked[:, out]).sum(axis=0) + intercept
    return answers


@dataclass(frozen=True)
class _Rows:
    """The rows of a fit: labels, sample weights [rows], and the fold of each [rows]."""

    labels: NDArray
    weights: NDArray
    folds: NDArray

    @property
    def effective(self) -> float:
        """The number of rows of equal weight that tell as much."""
        return sample_weights.effective_rows(self.weights)

    def mean(self, losses: NDArray) -> float:
        """Return the mean loss."""
        return float(np.average(losses, weights=self.weights))

    def mean_and_error(self, losses: NDArray) -> tuple[float, float]:
        """Compute the mean loss and its standard error."""
        return sample_weights.mean_and_error(losses, self.weights)


def _unfitted_combiner(kind: str | Custom, weights: Mapping[str, float] | None) -> Combiner:
    if isinstance(kind, Custom):
        return kind
    if kind == "weighted_mean" and weights is not None:
        return WeightedMean(weights=weights)
    if kind == "majority_vote":
        return MajorityVote(weights=weights or {})
    if kind == "soft_vote":
        return SoftVote(weights=weights or {})
    return Median() if kind == "median" else Mean()


def _fit_and_drop(
    kind: str, problem: str, rows: _Rows, outputs: Mapping[str, NDArray], drop: bool
) -> tuple[Combiner, tuple[Contribution, ...]]:
    """Fit to all rows, and drop the least helpful member until every member helps, or one alone is as good."""
    pool = opinion_pools.pool_for(kind, problem)
    dropped: dict[str, Contribution] = {}
    remaining = dict(outputs)
    while True:
        solution = _solve(pool, rows, remaining)
        contributions = _measure_contributions(pool, rows, remaining, solution)
        useless = [c for c in contributions if not c.kept]
        if not (drop and useless and len(remaining) > 1):
            break
        worst = min(useless, key=lambda c: (c.weight or 0.0, c.member))
        dropped[worst.member] = worst
        del remaining[worst.member]
    if drop and len(remaining) > 1 and (best := _best_alone(pool, rows, outputs, solution)):
        name, alone = best
        losses = f"{rows.mean(alone.losses):.4g} out of fold, all together {rows.mean(solution.losses):.4g}"
        why = f"{name} alone has a loss of {losses}"
        dropped |= {c.member: replace(c, kept=False, why=why) for c in contributions if c.member != name}
        remaining, solution = {name: outputs[name]}, alone
        contributions = _measure_contributions(pool, rows, remaining, solution)
    kept = {c.member: replace(c, kept=True, why="") for c in contributions}
    return _build_combiner(kind, pool, rows, remaining, solution), tuple(
        kept.get(name) or dropped[name] for name in outputs
    )


def _best_alone(
    pool: OpinionPool, rows: _Rows, outputs: Mapping[str, NDArray], together: _Solution
) -> tuple[str, _Solution] | None:
    """Return the best member if it is better than the combination, by more than one standard error; or None.

    The member is chosen again for each fold, from the other folds: a choice is as uncertain as weights are.
    """
    if not _is_measurable(rows, outputs):
        return None
    alone = {name: _solve(pool, rows, {name: values}) for name, values in outputs.items()}
    chosen = np.empty(len(rows.labels))
    for fold in range(FOLDS):
        out = rows.folds == fold
        others = rows.weights * ~out
        of_fold = min(alone, key=lambda name: float(np.average(alone[name].losses, weights=others)))
        chosen[out] = alone[of_fold].losses[out]
    best = min(alone, key=lambda name: rows.mean(alone[name].losses))
    gain, error = rows.mean_and_error(together.losses - chosen)
    return (best, alone[best]) if gain > error else None


@dataclass(frozen=True)
class _Solution:
    parameters: NDArray
    penalty: float
    losses: NDArray  # out of fold [rows]


def _solve(
    pool: OpinionPool,
    rows: _Rows,
    outputs: Mapping[str, NDArray],
    penalties: Sequence[float] = PENALTIES,
) -> _Solution:
    """Fit to all rows, with the penalty that is best out of fold."""
    stacked = np.stack(list(outputs.values()))
    candidates = [(penalty, _out_of_fold(pool, rows, stacked, penalty)) for penalty in penalties]
    # The one-standard-error rule of L. Breiman et al., Classification and Regression Trees, 1984, for paired losses:
    # the strongest penalty whose loss exceeds the least one by at most one standard error of the difference. The error
    # of a few rows is itself uncertain, so they need more.
    least = min((losses for _, losses in candidates), key=rows.mean)
    errors = 1.0 if _is_measurable(rows, outputs) else _TWO_SIDED_95
    penalty, losses = next(pair for pair in candidates if _is_equal(rows, pair[1], least, errors))
    return _Solution(pool.fit(rows.labels, stacked, penalty, rows.weights), penalty, losses)


def _is_equal(rows: _Rows, losses: NDArray, least: NDArray, errors: float) -> bool:
    excess, error = rows.mean_and_error(losses - least)
    return excess <= errors * error


def _out_of_fold(pool: OpinionPool, rows: _Rows, stacked: NDArray, penalty: float) -> NDArray:
    """Compute the loss of each row [rows], with parameters fitted to the other folds."""
    labels, weights = rows.labels, rows.weights
    losses = np.empty(len(labels))
    for fold in range(FOLDS):
        out = rows.folds == fold
        parameters = pool.fit(labels[~out], stacked[:, ~out], penalty, weights[~out])
        losses[out] = pool.losses(parameters, labels[out], stacked[:, out], weights[out])
    return losses


def _measure_contributions(
    pool: OpinionPool, rows: _Rows, outputs: Mapping[str, NDArray], solution: _Solution
) -> list[Contribution]:
    weights = pool.weights(solution.parameters, len(outputs))
    if len(outputs) == 1:
        return [Contribution(name, float(weights[0])) for name in outputs]
    measurable = _is_measurable(rows, outputs)
    contributions = []
    for index, name in enumerate(outputs):
        without = {other: values for other, values in outputs.items() if other != name}
        gains = _solve(pool, rows, without, [solution.penalty]).losses - solution.losses
        gain, error = rows.mean_and_error(gains)
        margin, weight = _TWO_SIDED_95 * error, float(weights[index])
        # If members are similar, the loss of any one does not matter, but the loss of all does: a member with a
        # considerable weight stays. So does one with a small weight that helps, even if not significantly. A member
        # with a negligible weight is dropped even if it helps a little, because it costs memory and time in every
        # prediction.
        share = weight * len(outputs) / (weights.sum() or 1.0)
        useless = share < _NEGLIGIBLE_SHARE or (share < _SMALL_SHARE and gain <= 0)
        kept = not measurable or not useless
        why = "" if kept else _why_useless(weight, gain, margin)
        contributions.append(Contribution(name, weight, gain, gain - margin, gain + margin, kept, why))
    return contributions


def _is_measurable(rows: _Rows, outputs: Mapping[str, NDArray]) -> bool:
    return rows.effective >= _MIN_ROWS_PER_MEMBER * len(outputs)


def _why_useless(weight: float, gain: float, margin: float) -> str:
    change = f"{gain:+.2g} ± {margin:.1g}" if abs(gain) > 1e-12 else "the same"
    return f"it brings nothing: its weight is {weight:.2f}, and the loss out of fold without it is {change}"


def _build_combiner(
    kind: str, pool: OpinionPool, rows: _Rows, outputs: Mapping[str, NDArray], solution: _Solution
) -> Combiner:
    names = list(outputs)
    if kind == "weighted_mean":
        weights = pool.weights(solution.parameters, len(names))
        return WeightedMean(weights={name: float(weight) for name, weight in zip(names, weights, strict=True)})
    fallbacks = {}
    for missing in names if len(names) > 1 else []:
        without = {name: values for name, values in outputs.items() if name != missing}
        parameters = pool.fit(rows.labels, np.stack(list(without.values())), solution.penalty, rows.weights)
        fallbacks[missing] = _stack(pool, list(without), parameters)
    stack = _stack(pool, names, solution.parameters)
    return Stacking(coefficients=stack.coefficients, intercept=stack.intercept, fallbacks=fallbacks)


def _stack(pool: OpinionPool, names: Sequence[str], parameters: NDArray) -> Stack:
    coefficients, intercept = pool.stack(parameters, len(names))
    return Stack(
        coefficients={name: tuple(map(float, values)) for name, values in zip(names, coefficients, strict=True)},
        intercept=tuple(map(float, intercept)),
    )


def _combine(combiner: Combiner, outputs: Mapping[str, NDArray], problem: str) -> NDArray:
    import tensorflow as tf

    tensors = {name: tf.constant(values, tf.float32) for name, values in outputs.items()}
    return combiner.combine(tensors, "prediction" if problem == "regression" else "probabilities").numpy()


def _calibration(method: str, rows: _Rows, probabilities: NDArray) -> TemperatureScaling:
    with_bias = method == "bias_corrected_temperature"
    temperature, bias = opinion_pools.fit_temperature(rows.labels, probabilities, with_bias, rows.weights)
    return TemperatureScaling(temperature=float(temperature), bias=tuple(map(float, bias)))


def _correlations(problem: str, rows: _Rows, outputs: Mapping[str, NDArray]) -> dict[str, dict[str, float | None]]:
    """Compute Pearson's correlation between the members' errors; None if the errors of a member do not vary."""
    labels = rows.labels
    if not len(labels):
        return {name: dict.fromkeys(outputs) for name in outputs}
    truth = labels if problem == "regression" else np.eye(next(iter(outputs.values())).shape[1])[labels]
    weights = np.repeat(rows.weights, truth.shape[1])

    def deviations(errors: NDArray) -> NDArray:
        return np.asarray(np.sqrt(weights) * (errors - np.average(errors, weights=weights)))

    errors = {name: deviations((truth - values).ravel()) for name, values in outputs.items()}
    norms = {name: float(np.linalg.norm(error)) for name, error in errors.items()}

    def pearson(a: str, b: str) -> float | None:
        product = norms[a] * norms[b]
        return float(errors[a] @ errors[b] / product) if product > 0 else None

    return {a: {b: pearson(a, b) for b in outputs} for a in outputs}


def _require_rows(rows: _Rows) -> None:
    count = len(rows.labels)
    if rows.effective < 2 * FOLDS:
        weighed = f", which tell as much as {rows.effective:.1f} of equal weight" if rows.effective < count else ""
        raise DataError(
            f"there are {count} rows for the combiner{weighed}; a fitted one needs at least {2 * FOLDS}. Add rows, "
            "give `splits.blend` more hash buckets, or use `combiner: mean`, which is not fitted"
        )
