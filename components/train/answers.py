"""Checks what a member answers: before it is trained, with random weights, and after, with its own.

A member promises probabilities float32 [batch, classes], or a prediction float32 [batch, 1]. A new model often keeps
this promise by chance: two sigmoids whose weights are zero answer 0.5 and 0.5. So the check also gives the weights
random values of several scales.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.components import modules, user_code, users_line
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SCALES = (10.0, 1.0, 0.1)  # standard deviations of random weights; large ones show the range of the answers
_SUM_TOLERANCE = {"float64": 1e-3, "float32": 1e-3}  # of a row's probabilities; other types are half as long


class _Placed(UsageError):
    """An error whose message names the place in the user's file."""


@dataclass(frozen=True)
class Promise:
    """The answer that a member promises.

    Attributes:
        problem: binary, multiclass or regression.
        classes: number of classes, 0 for regression; None if it is not known yet.
    """

    problem: str
    classes: int | None

    @property
    def text(self) -> str:
        """The expected output, and how a model gives it."""
        if self.problem == "regression":
            return "expected one prediction per row, [batch, 1]: end the model with Dense(1)"
        count = "classes" if self.classes is None else str(self.classes)
        sigmoid = " or Dense(1, activation='sigmoid')" if self.problem == "binary" else ""
        layer = f"Dense({count}, activation='softmax'){sigmoid}"
        return f"expected one probability per class, [batch, {count}]: end the model with {layer}"


def as_promised(values: tf.Tensor, problem: str) -> tf.Tensor:
    """Return a model's output in the form that all members have.

    The single probability of a binary model, [batch, 1] by Dense(1, activation='sigmoid'), is that of the positive
    class. It becomes two columns: negative, positive.
    """
    import tensorflow as tf

    values = tf.cast(values, tf.float32)
    if problem == "binary" and values.shape[-1] == 1:
        return tf.concat([1.0 - values, values], axis=1)
    return values


def check_model(
    model: keras.Model, features: Mapping[str, Any], promise: Promise, function: str, *, real: bool = True
) -> None:
    """Call a model that is not trained, with its own and with random weights; the weights are the same afterwards.

    Args:
        model: as the user's function built it, with the output layer.
        features: some rows of the transformed features, Tensors [batch, n] by name.
        promise: the expected answer.
        function: reference to the user's function, for messages.
        real: the features are of real rows, so an answer that is not finite is a fault of the model.

    Raises:
        UsageError: the model does not answer as promised.
    """
    with at(function):
        values = model(dict(features), training=False)
        rows = int(next(iter(features.values())).shape[0])
        refuse(form_fault(values, promise, rows))
        refuse(_unfinished(values, features) if real else None)
        refuse(_company_fault(values, lambda row: model(row, training=False), features))
        for _ in _other_weights(model):
            refuse(value_fault(model(dict(features), training=False), promise))


def check_trained(
    model: Callable[[Mapping[str, Any]], Any], features: Mapping[str, Any], promise: Promise, function: str
) -> None:
    """Check the answers of a trained member to real rows; see `check_model`."""
    with at(function):
        values = model(features)
        refuse(form_fault(values, promise, int(next(iter(features.values())).shape[0])))
        refuse(_unfinished(values, features))
        refuse(value_fault(values, promise))


def form_fault(values: Any, promise: Promise, rows: int) -> str | None:
    """Return what is wrong with the type and the shape of a model's output; None if they are as promised."""
    import tensorflow as tf

    if isinstance(values, Mapping):
        return f"the model has {len(values)} outputs by name ({', '.join(map(str, values))}); {promise.text}"
    if isinstance(values, (list, tuple)):
        return f"the model has {len(values)} outputs; {promise.text}"
    if not tf.is_tensor(values) or isinstance(values, (tf.RaggedTensor, tf.SparseTensor)):
        return f"the model's output is a {type(values).__name__}; {promise.text}"
    got = f"the model's output is {values.dtype.name} [{', '.join(['batch', *map(str, values.shape[1:])])}]"
    if not values.shape.rank or values.shape[0] != rows:
        return f"{got.partition(' [')[0]} of shape {list(values.shape)} for {rows} rows; {promise.text}"
    if not values.dtype.is_floating:
        return f"{got}; {promise.text}"
    widths = {"regression": (1,), "binary": (1, 2)}.get(promise.problem, (promise.classes,))
    too_narrow = promise.problem == "multiclass" and promise.classes is None and values.shape[-1] == 1
    unknown = promise.problem == "multiclass" and promise.classes is None and not too_narrow
    if values.shape.rank != 2 or (values.shape[1] not in widths and not unknown):
        return f"{got}; {promise.text}"
    return None


def value_fault(values: Any, promise: Promise) -> str | None:
    """Return why values of the right form are not probabilities; None if they are.

    Rows that are not finite are skipped.
    """
    if promise.problem == "regression":
        return None
    single = promise.problem == "binary" and values.shape[1] == 1
    tolerance = _SUM_TOLERANCE.get(values.dtype.name, 2e-2)
    numbers = np.asarray(values, np.float64)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        return None
    low, high = numbers.min(), numbers.max()
    if low < -tolerance or high > 1 + tolerance:
        activation = "sigmoid" if single else "softmax"
        return (
            f"the model's output has values from {low:.3g} to {high:.3g}, as logits have; expected probabilities from "
            f"0 to 1: end the model with activation='{activation}'"
        )
    sums = numbers.sum(axis=1)
    if not single and np.abs(sums - 1).max() > tolerance:
        return (
            f"the probabilities of a row sum to between {sums.min():.3g} and {sums.max():.3g}, expected 1: end the "
            "model with activation='softmax'; sigmoid is for Dense(1)"
        )
    return None


def not_finite(features: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the first feature with values that are NaN or infinite, and in how many rows; None if there is none."""
    for name, values in features.items():
        numbers = np.asarray(values)
        if numbers.dtype.kind != "f":
            continue
        bad = ~np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1)
        if bad.any():
            return name, int(bad.sum())
    return None


@contextmanager
def at(function: str) -> Iterator[None]:
    """Turn an error of the user's function, or of the model that it built, into one that names its file and line."""
    try:
        yield
    except _Placed:
        raise
    except UsageError as error:
        raise _Placed(f"{location(function)}: {error}") from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines)[:400]}"
        if isinstance(error, ModuleNotFoundError) and error.name:
            reason += did_you_mean(error.name, modules.importable_names(), likeness=0.8)
        raise _Placed(f"{_deepest(error, function) or location(function)}: {reason}") from error


def location(function: str) -> str:
    """Return file, line and name of a user's function as text, such as `models.py, line 12 (deep)`."""
    target, _, name = function.rpartition(":")
    try:
        code = inspect.unwrap(user_code.load(function)).__code__
    except Exception:  # it has no code of its own, or cannot be imported: then the reference must do
        return f"{users_line.short(target)} ({name})"
    return f"{users_line.written(code.co_filename, code.co_firstlineno)} ({name})"


def refuse(fault: str | None) -> None:
    """Raise UsageError if there is a fault."""
    if fault is not None:
        raise UsageError(fault)


def _company_fault(values: Any, model: Callable[[Mapping[str, Any]], Any], features: Mapping[str, Any]) -> str | None:
    """Return that the answer to a row changes with the rows beside it, if it does: a client may send one row."""
    rows = int(values.shape[0])
    fewer = (rows + 1) // 2
    all_rows = np.asarray(values, np.float64)[:fewer]
    half = np.asarray(model({name: value[:fewer] for name, value in features.items()}), np.float64)
    close = np.isclose(half, all_rows, rtol=1e-3, atol=1e-3, equal_nan=True).all(axis=1)
    if close.all():
        return None
    row = int(np.argmin(close))
    return (
        f"the model answers a row with {_numbers(all_rows[row])} among {rows} rows, and with {_numbers(half[row])} "
        f"among {fewer} of them; look for a mean, a rank or an order over the batch, and for random numbers"
    )


def _numbers(values: NDArray) -> str:
    return ", ".join(f"{value:.3g}" for value in values[:5])


def _unfinished(values: Any, features: Mapping[str, Any]) -> str | None:
    numbers = np.asarray(values).astype(np.float64)
    if np.isfinite(numbers).all():
        return None
    bad = f"the model's output is not finite in {int((~np.isfinite(numbers).all(axis=1)).sum())} of {len(numbers)} rows"
    if (culprit := not_finite(features)) is not None:
        return f"{bad}: feature {culprit[0]!r} is NaN or infinite in {culprit[1]} of them; correct preprocessing_fn"
    return f"{bad}, although all features are; look for a division by zero or a logarithm of 0"


def _other_weights(model: keras.Model) -> Iterator[None]:
    """Give the weights random values, scale by scale, then their own; all of them within the weights' constraints.

    A constraint holds only after the first step of training. At the end the weights are as before.
    """
    generator = np.random.default_rng(0)
    weights: Sequence[Any] = model.trainable_weights
    own = [np.asarray(weight) for weight in weights]
    try:
        for scale in (*SCALES, None):
            for weight, value in zip(weights, own, strict=True):
                weight.assign(
                    value if scale is None else (scale * generator.normal(size=value.shape)).astype(value.dtype)
                )
                if (constraint := getattr(weight, "constraint", None)) is not None:
                    weight.assign(constraint(weight))
            yield
    finally:
        for weight, value in zip(weights, own, strict=True):
            weight.assign(value)


def _deepest(error: BaseException, function: str) -> str | None:
    """Return the last line of the user's files that the error went through; None if it went through none."""
    target, _, name = function.rpartition(":")
    try:
        file = inspect.unwrap(user_code.load(function)).__code__.co_filename
    except Exception:  # the file cannot be imported: the error is about its import
        file = os.path.abspath(target) if target.endswith(".py") else _module_file(target)
    trace, place = error.__traceback__, None
    while trace is not None:
        filename = trace.tb_frame.f_code.co_filename
        if filename == file or user_code.is_users(trace.tb_frame.f_globals):
            place = f"{users_line.written(filename, trace.tb_lineno)} ({name})"
        trace = trace.tb_next
    return place


def _module_file(module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return ""
    return (spec.origin or "") if spec else ""
