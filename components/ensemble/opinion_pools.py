"""The convex problems behind the fitted combiners: linear and logarithmic opinion pools, stacking, and calibration.

Each fit minimises the mean loss over the rows plus `penalty` / rows x the squared distance of the weights from equal
weights. Rows count by their sample weights; their number is that of rows of equal weight that tell as much. Weights of
members are never negative (L. Breiman, Stacked Regressions, Machine Learning 24, 1996). `stacked` is always float64
[members, rows, n]: probabilities of n classes, or n outputs. `row_weights` are float64 [rows], above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benison.components.sample_weights import effective_rows, normalized
from benison.serving.ensemble.combiners import SMALLEST_PROBABILITY


class OpinionPool(Protocol):
    """A parametric combination of members, with its loss and its fit."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float, row_weights: NDArray) -> NDArray:
        """Return the parameters with the lowest penalised loss on these rows."""

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray, row_weights: NDArray) -> NDArray:
        """Compute the loss of each row [rows]: log loss, or squared error in units of the label's variance."""

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        """Return one weight per member, comparable between members."""

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        """Return coefficients [members, 1 or n] and intercept [1 or n], see `benison.serving.ensemble.Stack`."""


def pool_for(kind: str, problem: str) -> OpinionPool:
    """Return the pool of a combiner.

    Args:
        kind: `weighted_mean` or `stacking`.
        problem: binary, multiclass or regression.
    """
    if kind == "weighted_mean":
        return _LinearPool(problem == "regression")
    return _StackedRegression() if problem == "regression" else _LogPool()


def fit_temperature(
    labels: NDArray, probabilities: NDArray, with_bias: bool, row_weights: NDArray
) -> tuple[float, NDArray]:
    """Fit the temperature, and optionally a bias, with the lowest log loss.

    Args:
        labels: int64 [rows], class ids.
        probabilities: float [rows, classes].
        with_bias: also fit a bias per class; a penalty keeps it small, because `blend` may have few rows.
        row_weights: sample weights [rows].

    Returns:
        The temperature and the bias [classes], which is empty without `with_bias`.
    """
    logs = _log(probabilities)
    classes, rows = logs.shape[1], effective_rows(row_weights)

    def objective(x: NDArray) -> tuple[float, NDArray]:
        loss, of_score = _cross_entropy(labels, x[0] * logs + x[1:], row_weights)
        by_bias = of_score.sum(axis=0) + 2 * x[1:] / rows if with_bias else np.zeros(classes)
        ridge = float((x[1:] ** 2).sum()) / rows
        return loss + ridge, np.concatenate([[(of_score * logs).sum()], by_bias])

    # A stronger change than these bounds is not calibration, but a sign of bad rows.
    solution = _minimise(objective, np.array([1.0, *np.zeros(classes)]), [(0.01, 10.0), *[(None, None)] * classes])
    return 1 / solution[0], solution[1:] if with_bias else np.zeros(0)


class _LinearPool:
    """Weighted mean; the weights are at least 0 and their sum is 1."""

    def __init__(self, regression: bool) -> None:
        self._regression = regression

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float, row_weights: NDArray) -> NDArray:
        members, rows = len(stacked), effective_rows(row_weights)
        equal = np.full(members, 1 / members)
        if members == 1:
            return equal
        loss_of = self._squared_error if self._regression else self._log_loss
        loss = loss_of(labels, stacked, normalized(row_weights))

        def objective(w: NDArray) -> tuple[float, NDArray]:
            value, gradient = loss(w)
            deviation = w - equal
            return value + penalty / rows * float(deviation @ deviation), gradient + 2 * penalty / rows * deviation

        from scipy.optimize import minimize

        result = minimize(
            objective,
            equal,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * members,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
            options={"ftol": 1e-12, "maxiter": 500},
        )
        weights = np.clip(result.x, 0, None)
        return weights / weights.sum()

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray, row_weights: NDArray) -> NDArray:
        pooled = np.tensordot(parameters, stacked, axes=1)
        if not self._regression:
            return -_log(pooled[np.arange(len(labels)), labels])
        return ((labels - pooled) ** 2 / _variance(labels, row_weights)).mean(axis=1)

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        return parameters[:, None], np.zeros(1)

    @staticmethod
    def _squared_error(
        labels: NDArray, stacked: NDArray, row_weights: NDArray
    ) -> Callable[[NDArray], tuple[float, NDArray]]:
        """Return loss and gradient; as weights sum to 1, the second moments of the members' errors are sufficient."""
        errors = (stacked - labels) / np.sqrt(_variance(labels, row_weights)) * np.sqrt(row_weights)[:, None]
        errors = errors.reshape(len(stacked), -1)
        moments = errors @ errors.T / errors.shape[1]

        def loss(w: NDArray) -> tuple[float, NDArray]:
            return float(w @ moments @ w), 2 * moments @ w

        return loss

    @staticmethod
    def _log_loss(
        labels: NDArray, stacked: NDArray, row_weights: NDArray
    ) -> Callable[[NDArray], tuple[float, NDArray]]:
        of_label = stacked[:, np.arange(len(labels)), labels].clip(SMALLEST_PROBABILITY, 1)

        def loss(w: NDArray) -> tuple[float, NDArray]:
            pooled = (w @ of_label).clip(SMALLEST_PROBABILITY)
            return float(-(row_weights * np.log(pooled)).mean()), -(row_weights * of_label / pooled).mean(axis=1)

        return loss


class _LogPool:
    """softmax(sum of weight x log probability + bias): weights [members] at least 0, then a bias [classes]."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float, row_weights: NDArray) -> NDArray:
        members, _, classes = stacked.shape
        rows = effective_rows(row_weights)
        logs = _log(stacked)
        equal = np.full(members, 1 / members)

        def objective(x: NDArray) -> tuple[float, NDArray]:
            w, bias = x[:members], x[members:]
            loss, of_score = _cross_entropy(labels, np.tensordot(w, logs, axes=1) + bias, row_weights)
            deviation = np.concatenate([w - equal, bias])
            gradient = np.concatenate([np.einsum("mrc,rc->m", logs, of_score), of_score.sum(axis=0)])
            # Only differences between biases matter; a minimal penalty makes the solution unique.
            factor = max(penalty, 1e-3) / rows
            return loss + factor * float(deviation @ deviation), gradient + 2 * factor * deviation

        start = np.concatenate([equal, np.zeros(classes)])
        return _minimise(objective, start, [(0, None)] * members + [(None, None)] * classes)

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray, row_weights: NDArray) -> NDArray:
        members = len(stacked)
        score = np.tensordot(parameters[:members], _log(stacked), axes=1) + parameters[members:]
        return -_log_softmax(score)[np.arange(len(labels)), labels]

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters[:members]

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        return parameters[:members, None], parameters[members:]


class _StackedRegression:
    """Non-negative least squares for each output: weights [members, n] at least 0, then an intercept [n]."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float, row_weights: NDArray) -> NDArray:
        from scipy.optimize import nnls

        members, rows, outputs = stacked.shape
        scale = np.sqrt(_variance(labels, row_weights))
        shares, roots = row_weights / row_weights.sum(), np.sqrt(normalized(row_weights))
        parameters = np.empty((members + 1, outputs))
        ridge = np.sqrt(penalty * rows / effective_rows(row_weights)) * np.eye(members)
        for output in range(outputs):
            x: NDArray = stacked[:, :, output].T / scale[output]
            y: NDArray = labels[:, output] / scale[output]
            x_mean, y_mean = shares @ x, shares @ y
            # Only second moments matter, so R of the QR decomposition replaces the rows.
            reduced: Any = np.linalg.qr(np.column_stack([x - x_mean, y - y_mean]) * roots[:, None], mode="r")
            left = np.vstack([reduced[:, :members], ridge])
            right = np.concatenate([reduced[:, members], ridge @ np.full(members, 1 / members)])
            weights = nnls(left, right)[0]
            parameters[:members, output] = weights
            parameters[members, output] = (y_mean - x_mean @ weights) * scale[output]
        return parameters.ravel()

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray, row_weights: NDArray) -> NDArray:
        table = parameters.reshape(len(stacked) + 1, -1)
        predicted = np.einsum("mo,mro->ro", table[:-1], stacked) + table[-1]
        return ((labels - predicted) ** 2 / _variance(labels, row_weights)).mean(axis=1)

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters.reshape(members + 1, -1)[:-1].mean(axis=1)

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        table = parameters.reshape(members + 1, -1)
        return table[:-1], table[-1]


def _cross_entropy(labels: NDArray, score: NDArray, row_weights: NDArray) -> tuple[float, NDArray]:
    """Compute the mean log loss of softmax(score), and its gradient with respect to the score [rows, classes]."""
    logs = _log_softmax(score)
    rows = np.arange(len(labels))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1
    shares = row_weights / row_weights.sum()
    return float(-shares @ logs[rows, labels]), gradient * shares[:, None]


def _minimise(
    objective: Callable[[NDArray], tuple[float, NDArray]],
    start: NDArray,
    bounds: list[tuple[float | None, float | None]],
) -> NDArray:
    from scipy.optimize import minimize

    result = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "maxiter": 500}
    )
    return np.asarray(result.x)


def _log_softmax(score: NDArray) -> NDArray:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(score, axis=1))


def _log(probabilities: NDArray) -> NDArray:
    return np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1))


def _variance(labels: NDArray, row_weights: NDArray) -> NDArray:
    """Compute the variance of each output [outputs]; 1 if the output does not vary."""
    shares = row_weights / row_weights.sum()
    variance = shares @ (labels - shares @ labels) ** 2
    return np.where(variance > 0, variance, 1)
