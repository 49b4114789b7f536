"""The kind `linear`: linear, logistic or softmax regression with a ridge penalty, solved by linear algebra or L-BFGS.

It minimises the sum of the losses of all rows plus l2 / 2 times the sum of the squared weights, as scikit-learn does
with C = 1 / l2 and alpha = l2; an intercept has no penalty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.fitting import Fitted, Task, class_balance, drawn, target_scale
from benison.components.train.linear.settings import PARAMETERS
from benison.components.train.rows import Rows
from benison.serving.errors import UsageError

_STEPS = 500  # of L-BFGS; hardly a table needs half of them
_PRECISION = 1e-5  # the largest slope of the mean loss at the solution


class LinearFitter:
    """Solves the regression of a member, in memory: float64 [rows, features]."""

    needs_stop = False

    def __init__(self, task: Task) -> None:
        texts = [name for name, feature in task.spec.items() if feature.dtype.name == "string"]
        if texts:
            raise UsageError(
                f"member {task.recipe.name}: the feature {texts[0]!r} is text; expected numbers: encode it in "
                "preprocessing_fn, or use kind: keras"
            )
        self._task = task

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """See `fitting.Fitter`; the solution has no rounds, so `stop` is not used."""
        recipe, classes = self._task.recipe, self._task.classes
        balance = class_balance(recipe, learn, classes)
        rows = drawn(learn.arrays(), balance, recipe.seed)
        weights = balance.training_weights(rows.targets, rows.weights).astype(np.float64)
        scaled = _Scaled.of(self._matrix(rows.features), weights)
        l2 = PARAMETERS.value(self._task.hp.values, "l2") / scaled.widths**2
        if (unit := target_scale(recipe, learn)) is not None:
            mean, deviation = unit
            solution = _ridge(scaled.values, (rows.targets.astype(np.float64) - mean) / deviation, weights, l2)
            solution = solution * deviation + np.append(np.zeros(len(solution) - 1), mean)[:, None]
        elif recipe.problem == "binary":
            solution = _logistic(scaled.values, rows.targets, weights, l2)
        else:
            solution = _softmax(scaled.values, rows.targets, weights, l2, classes)
        return Fitted(self._predict(*scaled.unscaled(solution), balance), rounds=1)

    def _matrix(self, features: Mapping[str, NDArray]) -> NDArray[np.float64]:
        columns = []
        for name in self._task.spec:
            values = np.asarray(features[name], np.float64).reshape(len(features[name]), -1)
            if bad := int((~np.isfinite(values).all(axis=1)).sum()):
                raise UsageError(
                    f"member {self._task.recipe.name}: the feature {name!r} is NaN or infinite in {bad} of "
                    f"{len(values)} rows; replace such numbers in preprocessing_fn"
                )
            columns.append(values)
        return np.concatenate(columns, axis=1)

    def _predict(self, kernel: NDArray, intercept: NDArray, balance: Any) -> Any:
        """Return the function of features [batch, n] by name, for weights [features, outputs] and intercepts."""
        import tensorflow as tf

        factors, constant = tf.constant(kernel, tf.float32), tf.constant(intercept, tf.float32)
        sizes = {name: int(np.prod(feature.shape or [1])) for name, feature in self._task.spec.items()}
        problem = self._task.recipe.problem

        def predict(features: Mapping[str, Any]) -> Any:
            columns = [tf.reshape(tf.cast(features[name], tf.float32), [-1, size]) for name, size in sizes.items()]
            values = tf.concat(columns, axis=1) @ factors + constant
            if problem == "regression":
                return values
            if problem == "binary":
                return balance.correct(tf.concat([tf.sigmoid(-values), tf.sigmoid(values)], axis=1))
            return balance.correct(tf.nn.softmax(values))

        return predict


class _Scaled:
    """Features of mean 0 and deviation 1, for which the solvers need few steps, and the way back.

    Attributes:
        values: float64 [rows, features].
        means: of each feature.
        widths: the deviation of each feature; 1 if it is constant.
    """

    def __init__(self, values: NDArray, means: NDArray, widths: NDArray) -> None:
        self.values, self.means, self.widths = values, means, widths

    @classmethod
    def of(cls, values: NDArray, weights: NDArray) -> _Scaled:
        means = np.average(values, axis=0, weights=weights)
        values -= means
        widths = np.sqrt(np.average(values**2, axis=0, weights=weights))
        widths[~(widths > 1e-12 * np.maximum(np.abs(means), 1e-300))] = 1.0
        values /= widths
        return cls(values, means, widths)

    def unscaled(self, solution: NDArray) -> tuple[NDArray, NDArray]:
        """Return weights [features, outputs] and intercepts [outputs] of the features as they were."""
        kernel = solution[:-1] / self.widths[:, None]
        return kernel, solution[-1] - self.means @ kernel


def _ridge(values: NDArray, labels: NDArray, weights: NDArray, l2: NDArray) -> NDArray:
    """Return the weights and the intercept of the least squares [features + 1, 1]; the features have the mean 0."""
    from scipy.linalg import LinAlgError, lstsq, solve

    mean = np.average(labels, weights=weights)
    weighted = values * weights[:, None]
    squares, products = values.T @ weighted + np.diag(l2), weighted.T @ (labels - mean)
    try:
        kernel = solve(squares, products, assume_a="pos")
    except LinAlgError:  # without a penalty, features may be sums of others
        kernel = lstsq(squares, products)[0]
    return np.append(kernel, mean)[:, None]


def _logistic(values: NDArray, labels: NDArray, weights: NDArray, l2: NDArray) -> NDArray:
    """Return the weights and the intercept of the second class [features + 1, 1]."""
    from scipy.special import expit

    signs, total = np.where(labels == 1, 1.0, -1.0), weights.sum()

    def loss(solution: NDArray) -> tuple[float, NDArray]:
        kernel = solution[:-1]
        margins = signs * (values @ kernel + solution[-1])
        slopes = -signs * weights * expit(-margins)
        cost = (weights * np.logaddexp(0, -margins)).sum() + l2 @ kernel**2 / 2
        return cost / total, np.append(values.T @ slopes + l2 * kernel, slopes.sum()) / total

    return _minimum(loss, values.shape[1] + 1)[:, None]


def _softmax(values: NDArray, labels: NDArray, weights: NDArray, l2: NDArray, classes: int) -> NDArray:
    """Return the weights and the intercept of each class [features + 1, classes]."""
    from scipy.special import logsumexp

    rows, total = np.arange(len(labels)), weights.sum()

    def loss(solution: NDArray) -> tuple[float, NDArray]:
        parts = solution.reshape(-1, classes)
        scores = values @ parts[:-1] + parts[-1]
        logarithms = scores - logsumexp(scores, axis=1, keepdims=True)
        slopes = np.exp(logarithms)
        slopes[rows, labels] -= 1
        slopes *= weights[:, None]
        cost = -(weights * logarithms[rows, labels]).sum() + (l2 @ parts[:-1] ** 2).sum() / 2
        kernel = values.T @ slopes + l2[:, None] * parts[:-1]
        return cost / total, np.concatenate([kernel, slopes.sum(axis=0)[None]]).ravel() / total

    return _minimum(loss, (values.shape[1] + 1) * classes).reshape(-1, classes)


def _minimum(loss: Any, size: int) -> NDArray:
    """Return the arguments [size] at which a convex function, which also returns its slopes, is smallest."""
    from scipy.optimize import minimize

    options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS, "gtol": _PRECISION, "ftol": 1e-12, "maxcor": 20}
    found = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B", options=options)
    print(f"linear: {found.nit} steps of L-BFGS, loss {found.fun:.5f}")
    return np.asarray(found.x)
