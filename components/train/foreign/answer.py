"""The output of a foreign model as a member's answer, and what may be wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.foreign.settings import ForeignModel
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

_TOLERANCE = 1e-3  # of a probability, and of the sum of a row's


class Answer:
    """Turns the output of a model into probabilities in the order of the label's classes, or into one number.

    Args:
        model: its settings.
        classes: the label's classes, in their order; empty for regression.

    Raises:
        UsageError: the settings name other classes.
    """

    def __init__(self, model: ForeignModel, classes: Sequence[str]) -> None:
        self._model = model
        self._classes = tuple(classes)
        if not classes:
            return
        for name in model.classes:
            if name not in classes:
                raise UsageError(
                    f"{model.where('classes')}: {name!r} is no class of the label{did_you_mean(name, classes)} (it has "
                    f"{', '.join(classes)})"
                )
        one_of_two = len(model.classes) == 1 and len(classes) == 2
        if not one_of_two and sorted(model.classes) != sorted(classes):
            raise UsageError(
                f"{model.where('classes')}: got {', '.join(model.classes) or 'none'}; expected each class of the label "
                f"once ({', '.join(classes)}), in the order of the columns of the model's output"
            )

    def of(self, output: Any) -> Any:
        """Return a member's answer: probabilities float32 [batch, classes], or a number [batch, 1].

        Args:
            output: a Tensor or an array, whose type and shape are as `form_fault` demands.
        """
        import tensorflow as tf

        values = tf.cast(output, tf.float32)
        values = tf.reshape(values, [-1, len(self._model.classes) or 1])
        if not self._classes:
            return values
        if len(self._model.classes) == 1:
            values = tf.sigmoid(values) if self._model.logits else values
            named = {self._model.classes[0]: values}
            return tf.concat([named.get(name, 1.0 - values) for name in self._classes], axis=1)
        values = tf.nn.softmax(values) if self._model.logits else values
        order = [list(self._model.classes).index(name) for name in self._classes]
        return values if order == sorted(order) else tf.gather(values, order, axis=1)

    def form_fault(self, dtype: str, shape: Sequence[int | None] | None, output: str) -> str | None:
        """Return what is wrong with the type and the shape of an output; None if nothing is.

        Args:
            dtype: TensorFlow's name of its type.
            shape: its sizes with the batch, None for any size; None if the rank is not known.
            output: its name.
        """
        width = len(self._model.classes) or 1
        got = f"the output {output!r} is {dtype} [{'?' if shape is None else ', '.join(_sizes(shape))}]"
        wanted = (
            f"one probability for each of {', '.join(self._model.classes)}" if self._classes else "one number per row"
        )
        if not dtype.startswith(("float", "bfloat")):
            hint = "; it looks like the class, not its probability: name another output" if self._classes else ""
            if self._classes or not dtype.startswith("int"):
                return f"{got}, expected {wanted}{hint}"
        if shape is None:
            return None  # the answers to real rows have a shape
        is_vector = len(shape) == 1 and width == 1
        if not is_vector and (len(shape) != 2 or shape[1] not in (width, None)):
            return f"{got}, expected {wanted}: [any, {width}]"
        return None

    def value_fault(self, answers: NDArray) -> str | None:
        """Return why answers [rows, n] are not what they must be; None if they are."""
        if bad := int((~np.isfinite(answers).all(axis=1)).sum()):
            return (
                f"the model's answer is NaN or infinite in {bad} of {len(answers)} rows; a model that cannot take NaN "
                "needs the key missing, which names what it gets for a missing cell"
            )
        if not self._classes or not len(answers):
            return None
        low, high, sums = answers.min(), answers.max(), answers.sum(axis=1)
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            return (
                f"the output has values from {low:.3g} to {high:.3g}, expected probabilities from 0 to 1; name another "
                "output, or set logits: true if these are logits"
            )
        if np.abs(sums - 1).max() > _TOLERANCE:
            return f"the probabilities of a row sum to between {sums.min():.3g} and {sums.max():.3g}, expected 1"
        return None

    def check(self, answers: NDArray, rows: str) -> None:
        """Check the answers to real rows.

        Args:
            answers: float [rows, n].
            rows: which rows, for the message.

        Raises:
            UsageError: they are not finite, or no probabilities.
        """
        if fault := self.value_fault(answers):
            raise UsageError(f"{self._model.where()}: on {rows}: {fault}")


def _sizes(shape: Sequence[int | None]) -> list[str]:
    return ["any" if size is None else str(size) for size in shape]
