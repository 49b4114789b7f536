"""The kind `linear`: linear, logistic or softmax regression with a ridge penalty, solved by linear algebra or L-BFGS.

It minimises the sum of the losses of all rows plus l2 / 2 times the sum of the squared weights, as scikit-learn does
with C = 1 / l2 and alpha = l2; an intercept has no penalty. The one-hot columns of categories are sparse and stay so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.fitting import Fitted, Task, class_balance, drawn, target_scale
from benison.components.train.history import History
from benison.components.train.linear.scaled import Scaled
from benison.components.train.linear.settings import PARAMETERS
from benison.components.train.rows import Rows
from benison.serving.errors import DataError, UsageError

_STEPS = 500  # of L-BFGS or LSQR; hardly a table needs half of them
_WIDE = 2000  # features, above which the products of all pairs of them take longer than steps do
_PRECISION = 1e-6  # the largest slope of the mean loss at the solution
_STEEP = 1e-3  # a slope at which it is no solution


class LinearFitter:
    """Solves the regression of a member, in memory."""

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
        scaled = Scaled.of(self._parts(rows.features), weights)
        l2 = PARAMETERS.value(self._task.hp.values, "l2") / scaled.widths**2
        losses: list[float] = []
        if (unit := target_scale(recipe, learn)) is not None:
            mean, deviation = unit
            solution = _ridge(scaled, (rows.targets.astype(np.float64) - mean) / deviation, weights, l2)
            solution = solution * deviation + np.append(np.zeros(len(solution) - 1), mean)[:, None]
        elif recipe.problem == "binary":
            solution = _logistic(scaled, rows.targets, weights, l2, losses)
        else:
            solution = _softmax(scaled, rows.targets, weights, l2, classes, losses)
        history = (
            History("step", len(losses) - 1, {"loss": losses}) if losses else None
        )  # the least squares have no steps
        return Fitted(self._predict(*scaled.unscaled(solution), balance), rounds=1, history=history)

    def _parts(self, features: Mapping[str, NDArray]) -> Iterator[NDArray]:
        """Yield the features in the order of the spec, each [rows, n]."""
        for name in self._task.spec:
            values = features[name].reshape(len(features[name]), -1)
            if bad := int((~np.isfinite(values).all(axis=1)).sum()):
                raise UsageError(
                    f"member {self._task.recipe.name}: the feature {name!r} is NaN or infinite in {bad} of "
                    f"{len(values)} rows; replace such numbers in preprocessing_fn"
                )
            yield values

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


def _ridge(features: Scaled, labels: NDArray, weights: NDArray, l2: NDArray) -> NDArray:
    """Return the weights and the intercept of the least squares [features + 1, 1]."""
    from scipy.linalg import LinAlgError, lstsq, solve

    mean = np.average(labels, weights=weights)
    if features.shape[1] > _WIDE:
        return np.append(_wide_ridge(features, labels - mean, weights, l2), mean)[:, None]
    squares = features.products(weights) + np.diag(l2)
    units = np.sqrt(np.maximum(np.diag(squares), np.finfo(float).tiny))  # so that no penalty is far from the others
    squares /= np.outer(units, units)
    products = features.transposed_times(weights * (labels - mean)) / units
    try:
        kernel = solve(squares, products, assume_a="pos")
    except LinAlgError:  # without a penalty, features may be sums of others
        kernel = lstsq(squares, products)[0]
    return np.append(kernel / units, mean)[:, None]


def _wide_ridge(features: Scaled, labels: NDArray, weights: NDArray, l2: NDArray) -> NDArray:
    """Return the weights of the least squares [features], without a matrix of all pairs of features."""
    from scipy.sparse.linalg import LinearOperator, lsqr

    root = np.sqrt(weights)
    unit = np.sqrt(l2) if l2.any() else np.ones_like(l2)
    operator = LinearOperator(
        features.shape,
        matvec=lambda kernel: root * features.times(kernel.ravel() / unit),
        rmatvec=lambda numbers: features.transposed_times(root * numbers.ravel()) / unit,
    )
    found = lsqr(operator, root * labels, damp=float(l2.any()), atol=1e-9, btol=1e-9, iter_lim=_STEPS)
    print(f"linear: {found[2]} steps of LSQR")
    return found[0] / unit


def _logistic(features: Scaled, labels: NDArray, weights: NDArray, l2: NDArray, losses: list[float]) -> NDArray:
    """Return the weights and the intercept of the second class [features + 1, 1]; see `_minimum` for `losses`."""
    from scipy.special import expit

    signs, total = np.where(labels == 1, 1.0, -1.0), weights.sum()

    def loss(solution: NDArray) -> tuple[float, NDArray]:
        kernel = solution[:-1]
        margins = signs * (features.times(kernel) + solution[-1])
        slopes = -signs * weights * expit(-margins)
        cost = (weights * np.logaddexp(0, -margins)).sum() + l2 @ kernel**2 / 2
        return cost / total, np.append(features.transposed_times(slopes) + l2 * kernel, slopes.sum()) / total

    return _minimum(loss, _curvatures(l2, total), losses)[:, None]


def _softmax(
    features: Scaled, labels: NDArray, weights: NDArray, l2: NDArray, classes: int, losses: list[float]
) -> NDArray:
    """Return the weights and the intercept of each class [features + 1, classes]; see `_minimum` for `losses`."""
    from scipy.special import logsumexp

    rows, total = np.arange(len(labels)), weights.sum()

    def loss(solution: NDArray) -> tuple[float, NDArray]:
        parts = solution.reshape(-1, classes)
        scores = features.times(parts[:-1]) + parts[-1]
        logarithms = scores - logsumexp(scores, axis=1, keepdims=True)
        slopes = np.exp(logarithms)
        slopes[rows, labels] -= 1
        slopes *= weights[:, None]
        cost = -(weights * logarithms[rows, labels]).sum() + (l2 @ parts[:-1] ** 2).sum() / 2
        kernel = features.transposed_times(slopes) + l2[:, None] * parts[:-1]
        return cost / total, np.concatenate([kernel, slopes.sum(axis=0)[None]]).ravel() / total

    return _minimum(loss, np.repeat(_curvatures(l2, total), classes), losses).reshape(-1, classes)


def _curvatures(l2: NDArray, total: float) -> NDArray:
    """Return about the largest second derivative of the mean loss by each weight and the intercept [features + 1]."""
    return np.append(0.25 + l2 / total, 0.25)


def _minimum(loss: Any, curvatures: NDArray, losses: list[float]) -> NDArray:
    """Return the arguments [size] at which a convex function is smallest.

    Args:
        loss: the function, which also returns its slopes.
        curvatures: about the second derivative by each argument [size]. Of very different ones the solver finds no way.
        losses: the value after each step is added to it.

    Raises:
        DataError: it was not found.
    """
    from scipy.optimize import minimize

    units = np.sqrt(curvatures)

    def scaled(arguments: NDArray) -> tuple[float, NDArray]:
        value, slopes = loss(arguments / units)
        return value, slopes / units

    options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS, "gtol": _PRECISION, "ftol": 0, "maxcor": 20}

    def after_step(intermediate_result: Any) -> None:
        losses.append(float(intermediate_result.fun))

    found = minimize(scaled, np.zeros(len(units)), jac=True, method="L-BFGS-B", options=options, callback=after_step)
    slope = np.abs(found.jac).max()
    print(f"linear: {found.nit} steps of L-BFGS, loss {found.fun:.5f}, largest slope {slope:.1e}")
    if not slope <= _STEEP:  # also of NaN
        raise DataError(
            f"the regression was not solved in {found.nit} steps (the slope is {slope:.1e}): scale the features to "
            "similar sizes in preprocessing_fn"
        )
    return np.asarray(found.x / units)
