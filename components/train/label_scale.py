"""The scale on which a member learns the label of a regression: its own, or a logarithmic one (`target: auto`).

Squared errors of skewed labels, such as prices, are mostly those of few large ones. On a logarithmic scale the errors
of all rows count alike. The scale is log(y) if all labels are positive, and otherwise asinh(y / w), where w is the
median size of a label. It is chosen only if it improves the metric on rows that the member did not learn from.

The way back is part of the member's graph. exp(f) would be the median of y, not its mean, so it is multiplied by the
mean of exp(residual): N. Duan, Smearing Estimate, Journal of the American Statistical Association 78, 1983. The
residuals are those out of fold. Where there are enough rows, the factor is computed by level of f, because residuals of
small labels often have another spread than those of large ones. Within a level they may differ, too, as where half of
the labels are 0: so the factors are corrected until the mean prediction of each level is that of its labels.
Predictions stay within the range of the labels, so that an amount is never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import sample_weights
from benison.components.train import out_of_fold
from benison.components.train.fitting import Fitted, Fitter
from benison.components.train.out_of_fold import OutOfFold
from benison.components.train.rows import ArrayRows

SKEWED = 1.0  # the skewness from which a label is tried on another scale; that of a normal distribution is 0
_ROWS_OF_LEVEL, _LEVELS = 200, 10
_CORRECTIONS = 3  # the first one makes the mean of all rows right; more bring the means of the levels nearer


@dataclass(frozen=True)
class Scale:
    """A logarithmic scale.

    Attributes:
        width: the w of asinh(y / w); None for log(y).
        low: the smallest value of a learnt label on this scale.
        high: the largest one.
    """

    width: float | None
    low: float
    high: float

    @classmethod
    def of(cls, labels: NDArray, weights: NDArray) -> Scale | None:
        """Return the scale for labels [rows]; None if they are not skewed to the right, or it would not help.

        Args:
            labels: numbers [rows].
            weights: sample weights [rows].
        """
        values = labels.astype(np.float64)
        width = None
        if values.min() <= 0:
            other = values != 0
            width = sample_weights.median(np.abs(values[other]), weights[other]) if other.any() else 1.0
        scaled = _forward(values, width)
        skewness = _skewness(values, weights)
        if not skewness > SKEWED or abs(_skewness(scaled, weights)) > skewness / 2:
            return None
        return cls(width, float(scaled.min()), float(scaled.max()))

    @property
    def name(self) -> str:
        """The scale in words."""
        return "log(y)" if self.width is None else f"asinh(y / {self.width:.3g})"

    def forward(self, labels: NDArray) -> NDArray[np.float32]:
        """Return labels on this scale."""
        return _forward(labels.astype(np.float64), self.width).astype(np.float32)

    def backward(self, scaled: Any) -> NDArray[np.float64]:
        """Return labels, in their unit, for labels on this scale."""
        values = np.asarray(scaled, np.float64)
        return np.exp(values) if self.width is None else self.width * np.sinh(values)


@dataclass(frozen=True)
class WayBack:
    """The mean label for an answer f on a scale: w (a(f) sinh(f) + b(f) cosh(f)), or b(f) exp(f) for log(y).

    Attributes:
        scale: the scale.
        levels: values of f, ascending.
        factors: a and b at each level, [2, levels]; linear in between, constant beyond.
    """

    scale: Scale
    levels: NDArray[np.float64]
    factors: NDArray[np.float64]

    @classmethod
    def of(cls, scale: Scale, labels: NDArray, answers: NDArray, weights: NDArray) -> WayBack:
        """Return the way back for the residuals of a member.

        Args:
            scale: the scale.
            labels: on the scale [rows].
            answers: of the member [rows], to rows that it did not learn from.
            weights: sample weights [rows].
        """
        bounded = np.clip(answers.astype(np.float64), scale.low, scale.high)
        residuals = labels.astype(np.float64) - bounded
        count = max(min(int(sample_weights.effective_rows(weights)) // _ROWS_OF_LEVEL, _LEVELS), 1)
        parts = _parts(bounded, weights, count)

        def means(values: NDArray) -> NDArray:
            return np.array([np.average(values[part], weights=weights[part]) for part in parts])

        levels = means(bounded)
        distinct = np.unique(levels, return_index=True)[1]
        if scale.width is None:
            factors = np.stack([np.zeros(len(parts)), means(np.exp(residuals))], axis=1)
        else:
            factors = np.stack([means(np.cosh(residuals)), means(np.sinh(residuals))], axis=1)
        back = cls(scale, levels[distinct], factors[distinct].T)
        for _ in range(_CORRECTIONS):
            back = back._corrected(scale.backward(labels), bounded, weights, parts)
        return back

    def _corrected(
        self, labels: NDArray, answers: NDArray[np.float64], weights: NDArray, parts: list[NDArray]
    ) -> WayBack:
        """Add to b(f), by level, what brings the mean prediction of each part of the rows nearer to that of its labels.

        Each part's lack is divided among the levels as they contribute to its predictions.
        """
        import tensorflow as tf

        predictions = np.asarray(self(tf.constant(answers[:, None])))[:, 0]
        lacks = np.array([weights[part] @ (labels - predictions)[part] for part in parts])
        growth = np.exp(answers) if self.scale.width is None else self.scale.width * np.cosh(answers)
        nearness = np.stack([np.interp(answers, self.levels, of_level) for of_level in np.eye(len(self.levels))])
        shares = np.stack([nearness[:, part] @ (growth * weights)[part] for part in parts])  # [parts, levels]
        steps = (shares * (lacks / shares.sum(axis=1))[:, None]).sum(axis=0) / shares.sum(axis=0)
        return replace(self, factors=self.factors + np.stack([np.zeros_like(steps), steps]))

    def __call__(self, answers: Any) -> Any:
        """Return predictions [batch, 1] for answers [batch, 1], in TensorFlow operations."""
        import tensorflow as tf

        scale = self.scale
        f = tf.clip_by_value(answers, scale.low, scale.high)
        a, b = (self._interpolated(f, values) for values in self.factors)
        means = b * tf.exp(f) if scale.width is None else scale.width * (a * tf.sinh(f) + b * tf.cosh(f))
        return tf.clip_by_value(means, float(scale.backward(scale.low)), float(scale.backward(scale.high)))

    def _interpolated(self, f: Any, values: NDArray[np.float64]) -> Any:
        import tensorflow as tf

        if len(self.levels) == 1:
            return tf.constant(values[0], f.dtype)
        low, high = (tf.constant(ends, f.dtype) for ends in (self.levels[:-1], self.levels[1:]))
        slopes = tf.constant(np.diff(values) / np.diff(self.levels), f.dtype)
        within = tf.minimum(tf.maximum(f, low), high) - low  # [batch, levels - 1]
        return values[0] + tf.reduce_sum(within * slopes, axis=1, keepdims=True)


def fit(
    fitter: Fitter, rows: ArrayRows, folds: int, seed: int, name: str, *, absolute: bool
) -> tuple[OutOfFold, Fitted]:
    """Train a member on the scale that is better out of fold, and then on all rows.

    Args:
        fitter: trains the member.
        rows: all rows of a regression.
        folds: number of folds.
        seed: seed of the folds.
        name: name of the member, for messages.
        absolute: compare absolute errors instead of squared ones.

    Returns:
        The answers out of fold, in the unit of the label, and the member.
    """
    plain, rounds = out_of_fold.fit(fitter, rows, folds, seed, name)
    scale = Scale.of(rows.targets, rows.row_weights)
    if scale is None:
        print("target: auto: the label is not skewed; it is learnt as it is")
        return plain, fitter.fit(rows, rounds)
    scaled_rows = replace(rows, targets=scale.forward(rows.targets))
    scaled, scaled_rounds = out_of_fold.fit(fitter, scaled_rows, folds, seed, name)
    back = WayBack.of(scale, scaled_rows.targets, scaled.answers[:, 0], rows.row_weights)
    answers = np.asarray(back(scaled.answers))
    before, after = (_error(rows, values[:, 0], absolute) for values in (plain.answers, answers))
    chosen = bool(np.isfinite(after) and after < before)
    print(
        f"target: auto: the error out of fold is {after:.5g} on the scale {scale.name} and {before:.5g} without: "
        f"the label is learnt {'on this scale' if chosen else 'as it is'}"
    )
    if not chosen:
        return plain, fitter.fit(rows, rounds)
    fitted = fitter.fit(scaled_rows, scaled_rounds)

    def predict(transformed: Mapping[str, Any]) -> Any:
        return back(fitted.predict(transformed))

    return OutOfFold(rows.targets, answers, rows.weights, scaled.histories), replace(
        fitted, predict=predict, structure=None
    )


def _forward(values: NDArray[np.float64], width: float | None) -> NDArray[np.float64]:
    return np.log(values) if width is None else np.arcsinh(values / width)


def _parts(values: NDArray[np.float64], weights: NDArray, count: int) -> list[NDArray]:
    """Divide rows into parts of about the same weight, in the order of their values; return the rows of each."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(weights[order], dtype=np.float64)
    middle = (upto - weights[order] / 2) / upto[-1]
    parts = np.split(order, np.searchsorted(middle, np.arange(1, count) / count))
    return [part for part in parts if len(part)]  # a row may have the weight of several parts


def _skewness(values: NDArray[np.float64], weights: NDArray) -> float:
    distances = values - np.average(values, weights=weights)
    deviation = np.sqrt(np.average(distances**2, weights=weights))
    return float(np.average(distances**3, weights=weights) / deviation**3) if deviation > 0 else 0.0


def _error(rows: ArrayRows, answers: NDArray, absolute: bool) -> float:
    """Return the mean absolute error, or the root of the mean squared error."""
    errors = np.abs(rows.targets.astype(np.float64) - answers)
    mean = float(np.average(errors if absolute else errors**2, weights=rows.row_weights))
    return mean if absolute else float(np.sqrt(mean))
