"""Stops a training whose loss is not finite: such a model answers NaN, and a later node would fail on its answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from benison.components.train.answers import not_finite
from benison.serving.errors import UsageError

_ENORMOUS = 1e6  # a feature for a network is usually around 1


def stop_if_not_finite(
    member: str, splits: Mapping[str, Iterable[Any]], error: Callable[[str], Exception] = UsageError
) -> Any:
    """Return a Keras callback that raises when the loss of a batch, the loss on `valid` or a weight is not finite.

    The loss of the last batch is that of the weights before its step, so the weights are checked after each epoch.

    Args:
        member: the member's name, for the message.
        splits: the datasets of training by split, to find the feature that is not finite. They yield tuples whose
            first part is the features [batch, n] by name.
        error: the exception for a message.
    """
    import keras

    class Callback(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self._epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._epoch = epoch

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self._check("loss", logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self._check("loss", logs)
            self._check("val_loss", logs)
            for weight in self.model.weights:
                if (values := np.asarray(weight)).dtype.kind == "f" and not np.isfinite(values).all():
                    self._stop(f"the weight {getattr(weight, 'path', weight.name)} is NaN or infinite after")

        def _check(self, name: str, logs: Any) -> None:
            loss = (logs or {}).get(name)
            if loss is not None and not math.isfinite(loss):
                self._stop(f"the loss{' on valid' if name == 'val_loss' else ''} is {float(loss)} in")

        def _stop(self, fault: str) -> None:
            raise error(
                f"member {member}: {fault} epoch {self._epoch + 1} (learning rate {_learning_rate(self.model)}): "
                f"{first_not_finite(splits)}"
            )

    return Callback()


def first_not_finite(splits: Mapping[str, Iterable[Any]]) -> str:
    """Describe the first feature that is not finite, or the largest one that is enormous; or say what else to do."""
    largest, place = _ENORMOUS, ""
    for split, batches in splits.items():
        for features, *_ in batches:
            if (culprit := not_finite(features)) is not None:
                return f"feature {culprit[0]!r} is NaN or infinite in rows of {split}; correct preprocessing_fn"
            for name, values in features.items():
                numbers = np.asarray(values)
                if numbers.dtype.kind == "f" and (size := float(np.abs(numbers).max(initial=0))) > largest:
                    largest, place = size, f"feature {name!r} is as large as {size:.3g} in rows of {split}"
    if place:
        return f"{place}; scale or limit it in preprocessing_fn, such as by tft.scale_to_z_score or tf.clip_by_value"
    return "all features are finite; lower the learning rate, or look for a logarithm or a division in the model"


def _learning_rate(model: Any) -> str:
    rate: Any = getattr(model.optimizer, "learning_rate", None)
    try:
        return f"{float(rate):g}"
    except (TypeError, ValueError):  # a schedule that this version of Keras does not evaluate
        return "unknown"
