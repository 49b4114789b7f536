"""What a combiner learns from members' outputs on rows that no member learnt from.

All that is fitted is small and convex, so the answer does not depend on where the search begins. How far it is pulled
towards equal weights is chosen by cross-validation, so that thirty rows give nearly the mean and thirty thousand the
optimum. A member that does not help is dropped: its weight is small, and out of fold it gains nothing for sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
# Pulls towards equal weights that are tried, strongest first: of two that are equally good the stronger one is taken.
PENALTIES = (100.0, 10.0, 1.0, 0.1, 0.01, 1e-3, 1e-4, 0.0)
_TWO_SIDED_95 = 1.96
_NEGLIGIBLE_SHARE, _SMALL_SHARE = 0.1, 0.5  # of an equal weight
_MIN_ROWS_PER_MEMBER = 50  # for each member; from fewer nothing can be said of what one brings, and all stay


@dataclass(frozen=True)
class Contribution:
    """What one member brings.

    Attributes:
        member: its name.
        weight: in the combiner; None where the combiner has no weights.
        gain: by how much the loss (log loss, or squared error in units of the label's variance) on rows that were not
            fitted to is lower with the member than without it; None where it was not measured.
        low: lower end of the gain's 95 % interval.
        high: its upper end.
        kept: whether it is in the ensemble.
        why: one sentence, where it was dropped.
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
    """A fitted combiner and how it came about.

    Attributes:
        combiner: of the members that were kept.
        calibration: where it was asked for.
        contributions: one for each member that was there, dropped ones too.
        correlations: Pearson's, between the members' errors (label less prediction), by member and member.
        rows: how many were fitted to.
    """

    combiner: Combiner
    calibration: TemperatureScaling | None
    contributions: tuple[Contribution, ...]
    correlations: Mapping[str, Mapping[str, float | None]]
    rows: int

    @property
    def kept(self) -> tuple[str, ...]:
        """The members of the ensemble, in the order given."""
        return tuple(c.member for c in self.contributions if c.kept)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
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
) -> Fit:
    """Fits a combiner to the rows of `blend`.

    Args:
        kind: `mean`, `weighted_mean`, `median`, `majority_vote`, `soft_vote`, `stacking`, or a user's own.
        problem: binary, multiclass or regression.
        labels: int64 [rows], class ids; for regression float [rows, outputs].
        outputs: by member, probabilities float [rows, classes] or predictions float [rows, outputs].
        weights: given ones, for the combiners that take them; nothing is fitted or dropped then.
        drop: leave members out that do not help, where the combiner is fitted.
        calibrate: `none`, `temperature` or `bias_corrected_temperature`.
        seed: of the folds.

    Returns:
        The same for the same arguments.

    Raises:
        DataError: too few rows to fit to.
    """
    usable = {name: np.asarray(values, np.float64) for name, values in outputs.items()}
    if problem == "regression":
        labels = np.asarray(labels, np.float64)
    if isinstance(kind, Custom) or weights is not None or kind not in FITTED:
        combiner = _unfitted_combiner(kind, weights)
        contributions = tuple(Contribution(name, weights.get(name, 0.0) if weights else None) for name in outputs)
    else:
        _require_rows(labels)
        combiner, contributions = _fit_and_drop(kind, problem, labels, usable, drop, seed)
    kept = {c.member: usable[c.member] for c in contributions if c.kept}
    calibration = None
    if calibrate != "none":
        _require_rows(labels)
        calibration = _calibration(calibrate, labels, _combine(combiner, kept, problem))
    return Fit(combiner, calibration, contributions, _correlations(problem, labels, usable), len(labels))


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
    kind: str, problem: str, labels: NDArray, outputs: Mapping[str, NDArray], drop: bool, seed: int
) -> tuple[Combiner, tuple[Contribution, ...]]:
    """Drops the least helpful member as long as there is one that does not help, then fits to all rows."""
    pool = opinion_pools.pool_for(kind, problem)
    folds = np.random.default_rng(seed).permutation(len(labels)) % FOLDS
    dropped: dict[str, Contribution] = {}
    left = dict(outputs)
    while True:
        solution = _solve(pool, labels, left, folds)
        measured = _measure_contributions(pool, labels, left, folds, solution)
        useless = [c for c in measured if not c.kept]
        if not (drop and useless and len(left) > 1):
            break
        worst = min(useless, key=lambda c: (c.weight or 0.0, c.member))
        dropped[worst.member] = worst
        del left[worst.member]
    kept = {c.member: Contribution(c.member, c.weight, c.gain, c.low, c.high) for c in measured}
    return _build_combiner(kind, pool, labels, left, solution), tuple(kept.get(name) or dropped[name] for name in outputs)


@dataclass(frozen=True)
class _Solution:
    parameters: NDArray
    penalty: float
    losses: NDArray  # out of fold [rows]


def _solve(
    pool: OpinionPool,
    labels: NDArray,
    outputs: Mapping[str, NDArray],
    folds: NDArray,
    penalties: Sequence[float] = PENALTIES,
) -> _Solution:
    """Fits to all rows, with the pull that does best on rows that were not fitted to."""
    stacked = np.stack(list(outputs.values()))
    tried = [(penalty, _out_of_fold(pool, labels, stacked, folds, penalty)) for penalty in penalties]
    # The one-standard-error rule of L. Breiman et al., Classification and Regression Trees, 1984: the strongest pull
    # whose loss is within the error of the least.
    least, error = min(_mean_and_standard_error(losses) for _, losses in tried)
    penalty, losses = next(pair for pair in tried if pair[1].mean() <= least + error)
    return _Solution(pool.fit(labels, stacked, penalty), penalty, losses)


def _out_of_fold(pool: OpinionPool, labels: NDArray, stacked: NDArray, folds: NDArray, penalty: float) -> NDArray:
    """The loss of each row [rows], by parameters that were fitted to the other folds."""
    losses = np.empty(len(labels))
    for fold in range(FOLDS):
        out = folds == fold
        parameters = pool.fit(labels[~out], stacked[:, ~out], penalty)
        losses[out] = pool.losses(parameters, labels[out], stacked[:, out])
    return losses


def _measure_contributions(
    pool: OpinionPool, labels: NDArray, outputs: Mapping[str, NDArray], folds: NDArray, solution: _Solution
) -> list[Contribution]:
    weights = pool.weights(solution.parameters, len(outputs))
    if len(outputs) == 1:
        return [Contribution(name, float(weights[0])) for name in outputs]
    enough_to_tell = len(labels) >= _MIN_ROWS_PER_MEMBER * len(outputs)
    found = []
    for index, name in enumerate(outputs):
        without = {other: values for other, values in outputs.items() if other != name}
        gains = _solve(pool, labels, without, folds, [solution.penalty]).losses - solution.losses
        gain, error = _mean_and_standard_error(gains)
        margin, weight = _TWO_SIDED_95 * error, float(weights[index])
        # Of members that are alike none is missed alone, and yet all of them together are: a weight of some size stays.
        # With next to no weight a member goes even if it helps a little: it costs its memory and time at every answer.
        share = weight * len(outputs) / (weights.sum() or 1.0)
        useless = share < _NEGLIGIBLE_SHARE or (share < _SMALL_SHARE and gain <= margin)
        kept = not enough_to_tell or not useless
        why = "" if kept else f"weight {weight:.3g}, and its gain out of fold is {gain:.2g} ± {margin:.1g}"
        found.append(Contribution(name, weight, gain, gain - margin, gain + margin, kept, why))
    return found


def _mean_and_standard_error(values: NDArray) -> tuple[float, float]:
    """The mean, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _build_combiner(
    kind: str, pool: OpinionPool, labels: NDArray, outputs: Mapping[str, NDArray], solution: _Solution
) -> Combiner:
    names = list(outputs)
    if kind == "weighted_mean":
        weights = pool.weights(solution.parameters, len(names))
        return WeightedMean(weights={name: float(weight) for name, weight in zip(names, weights, strict=True)})
    fallbacks = {}
    for missing in names if len(names) > 1 else []:
        without = {name: values for name, values in outputs.items() if name != missing}
        fallbacks[missing] = _stack(
            pool, list(without), pool.fit(labels, np.stack(list(without.values())), solution.penalty)
        )
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


def _calibration(how: str, labels: NDArray, probabilities: NDArray) -> TemperatureScaling:
    temperature, bias = opinion_pools.fit_temperature(labels, probabilities, with_bias=how == "bias_corrected_temperature")
    return TemperatureScaling(temperature=float(temperature), bias=tuple(map(float, bias)))


def _correlations(problem: str, labels: NDArray, outputs: Mapping[str, NDArray]) -> dict[str, dict[str, float | None]]:
    """Pearson's correlation between the members' errors; None where a member's errors do not vary."""
    if not len(labels):
        return {name: dict.fromkeys(outputs) for name in outputs}
    truth = labels if problem == "regression" else np.eye(next(iter(outputs.values())).shape[1])[labels]
    errors = {name: (truth - values).ravel() - (truth - values).mean() for name, values in outputs.items()}
    norms = {name: float(np.linalg.norm(error)) for name, error in errors.items()}

    def pearson(a: str, b: str) -> float | None:
        both = norms[a] * norms[b]
        return float(errors[a] @ errors[b] / both) if both > 0 else None

    return {a: {b: pearson(a, b) for b in outputs} for a in outputs}


def _require_rows(labels: NDArray) -> None:
    if len(labels) < 2 * FOLDS:
        raise DataError(
            f"the split blend has {len(labels)} rows, and a fitted combiner needs {2 * FOLDS}: give `splits.blend` "
            "more hash buckets, or take `combiner: mean`, which fits nothing"
        )
