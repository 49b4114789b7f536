"""The convex problems behind the fitted combiners: a linear pool, a stack, and temperature scaling.

Each is fitted by minimising a mean loss over rows plus `penalty` / rows x the squared distance of the weights from
equal ones; weights are never negative (L. Breiman, Stacked Regressions, Machine Learning 24, 1996). `stacked` is
float64 [members, rows, n] throughout: probabilities of n classes, or n outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benison.serving.ensemble.combiners import SMALLEST_PROBABILITY


class OpinionPool(Protocol):
    """A family of combinations, its loss and how it is fitted."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float) -> NDArray:
        """The parameters that fit these rows best."""

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray) -> NDArray:
        """The loss of each row [rows]: log loss, or squared error in units of the label's variance."""

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        """One weight per member, to be compared with each other."""

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        """As `benison.serving.ensemble.Stack` has them: coefficients [members, 1 or n] and intercept [1 or n]."""


def pool_for(kind: str, problem: str) -> OpinionPool:
    """The pool of `weighted_mean` or `stacking`."""
    if kind == "weighted_mean":
        return _LinearPool(problem == "regression")
    return _StackedRegression() if problem == "regression" else _LogPool()


def fit_temperature(labels: NDArray, probabilities: NDArray, with_bias: bool) -> tuple[float, NDArray]:
    """The temperature, and a bias [classes] (empty unless asked for), with the least log loss.

    Args:
        labels: int64 [rows], class ids.
        probabilities: float [rows, classes].
        with_bias: fit a bias for each class too; it is kept small, since it is fitted to few rows.
    """
    logs = _log(probabilities)
    classes = logs.shape[1]

    def objective(x: NDArray) -> tuple[float, NDArray]:
        loss, of_score = _cross_entropy(labels, x[0] * logs + x[1:])
        by_bias = of_score.sum(axis=0) + 2 * x[1:] / len(labels) if with_bias else np.zeros(classes)
        ridge = float((x[1:] ** 2).sum()) / len(labels)
        return loss + ridge, np.concatenate([[(of_score * logs).sum()], by_bias])

    # Sharper than ten times, or flatter than a hundred times, is no calibration any more but a fault of the rows.
    found = _minimise(objective, np.array([1.0, *np.zeros(classes)]), [(0.01, 10.0), *[(None, None)] * classes])
    return 1 / found[0], found[1:] if with_bias else np.zeros(0)


class _LinearPool:
    """Weights of a mean: at least 0, their sum 1."""

    def __init__(self, regression: bool) -> None:
        self._regression = regression

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float) -> NDArray:
        members, rows = stacked.shape[:2]
        equal = np.full(members, 1 / members)
        if members == 1:
            return equal
        loss = self._squared_error(labels, stacked) if self._regression else self._log_loss(labels, stacked)

        def objective(w: NDArray) -> tuple[float, NDArray]:
            value, gradient = loss(w)
            apart = w - equal
            return value + penalty / rows * float(apart @ apart), gradient + 2 * penalty / rows * apart

        from scipy.optimize import minimize

        found = minimize(
            objective,
            equal,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * members,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
            options={"ftol": 1e-12, "maxiter": 500},
        )
        weights = np.clip(found.x, 0, None)
        return weights / weights.sum()

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray) -> NDArray:
        pooled = np.tensordot(parameters, stacked, axes=1)
        if not self._regression:
            return -_log(pooled[np.arange(len(labels)), labels])
        return ((labels - pooled) ** 2 / _variance(labels)).mean(axis=1)

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        return parameters[:, None], np.zeros(1)

    @staticmethod
    def _squared_error(labels: NDArray, stacked: NDArray) -> Callable[[NDArray], tuple[float, NDArray]]:
        """As weights sum to 1, the error is the pool of the members' errors: all is in their second moments."""
        errors = ((stacked - labels) / np.sqrt(_variance(labels))).reshape(len(stacked), -1)
        moments = errors @ errors.T / errors.shape[1]

        def loss(w: NDArray) -> tuple[float, NDArray]:
            return float(w @ moments @ w), 2 * moments @ w

        return loss

    @staticmethod
    def _log_loss(labels: NDArray, stacked: NDArray) -> Callable[[NDArray], tuple[float, NDArray]]:
        of_label = stacked[:, np.arange(len(labels)), labels].clip(SMALLEST_PROBABILITY, 1)

        def loss(w: NDArray) -> tuple[float, NDArray]:
            pooled = (w @ of_label).clip(SMALLEST_PROBABILITY)
            return float(-np.log(pooled).mean()), -(of_label / pooled).mean(axis=1)

        return loss


class _LogPool:
    """softmax(sum of weight x log probability + bias): weights [members] at least 0, then a bias [classes]."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float) -> NDArray:
        members, rows, classes = stacked.shape
        logs = _log(stacked)
        equal = np.full(members, 1 / members)

        def objective(x: NDArray) -> tuple[float, NDArray]:
            w, bias = x[:members], x[members:]
            loss, of_score = _cross_entropy(labels, np.tensordot(w, logs, axes=1) + bias)
            apart = np.concatenate([w - equal, bias])
            gradient = np.concatenate([np.einsum("mrc,rc->m", logs, of_score), of_score.sum(axis=0)])
            # Only differences between biases count; a trace of a pull on them keeps the answer unique.
            pull = max(penalty, 1e-3) / rows
            return loss + pull * float(apart @ apart), gradient + 2 * pull * apart

        start = np.concatenate([equal, np.zeros(classes)])
        return _minimise(objective, start, [(0, None)] * members + [(None, None)] * classes)

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray) -> NDArray:
        members = len(stacked)
        score = np.tensordot(parameters[:members], _log(stacked), axes=1) + parameters[members:]
        return -_log_softmax(score)[np.arange(len(labels)), labels]

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters[:members]

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        return parameters[:members, None], parameters[members:]


class _StackedRegression:
    """Weights [members, n] at least 0, then an intercept [n], for each output by itself."""

    def fit(self, labels: NDArray, stacked: NDArray, penalty: float) -> NDArray:
        from scipy.optimize import nnls

        members, _rows, outputs = stacked.shape
        scale = np.sqrt(_variance(labels))
        found = np.empty((members + 1, outputs))
        pull = np.sqrt(penalty) * np.eye(members)
        for output in range(outputs):
            x: NDArray = stacked[:, :, output].T / scale[output]
            y: NDArray = labels[:, output] / scale[output]
            centre, middle = x.mean(axis=0), y.mean()
            # The rows count through their second moments only: R of the QR decomposition is as good as all of them.
            reduced: Any = np.linalg.qr(np.column_stack([x - centre, y - middle]), mode="r")
            left = np.vstack([reduced[:, :members], pull])
            right = np.concatenate([reduced[:, members], pull @ np.full(members, 1 / members)])
            weights = nnls(left, right)[0]
            found[:members, output] = weights
            found[members, output] = (middle - centre @ weights) * scale[output]
        return found.ravel()

    def losses(self, parameters: NDArray, labels: NDArray, stacked: NDArray) -> NDArray:
        table = parameters.reshape(len(stacked) + 1, -1)
        predicted = np.einsum("mo,mro->ro", table[:-1], stacked) + table[-1]
        return ((labels - predicted) ** 2 / _variance(labels)).mean(axis=1)

    def weights(self, parameters: NDArray, members: int) -> NDArray:
        return parameters.reshape(members + 1, -1)[:-1].mean(axis=1)

    def stack(self, parameters: NDArray, members: int) -> tuple[NDArray, NDArray]:
        table = parameters.reshape(members + 1, -1)
        return table[:-1], table[-1]


def _cross_entropy(labels: NDArray, score: NDArray) -> tuple[float, NDArray]:
    """Mean log loss of softmax(score), and its gradient by the score [rows, classes]."""
    logs = _log_softmax(score)
    rows = np.arange(len(labels))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1
    return float(-logs[rows, labels].mean()), gradient / len(labels)


def _minimise(
    objective: Callable[[NDArray], tuple[float, NDArray]],
    start: NDArray,
    bounds: list[tuple[float | None, float | None]],
) -> NDArray:
    from scipy.optimize import minimize

    found = minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12, "maxiter": 500}
    )
    return np.asarray(found.x)


def _log_softmax(score: NDArray) -> NDArray:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(score, axis=1))


def _log(probabilities: NDArray) -> NDArray:
    return np.log(np.clip(probabilities, SMALLEST_PROBABILITY, 1))


def _variance(labels: NDArray) -> NDArray:
    """Of each output [outputs]; 1 where it does not vary."""
    variance = labels.var(axis=0)
    return np.where(variance > 0, variance, 1)
