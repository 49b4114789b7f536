"""Trains a Keras model on rows in memory: one call of a TensorFlow function per epoch.

`model.fit` spends most of its time between the steps of such a small training. Here all steps of an epoch are one
loop in the graph, and folds share it: it is traced once. Loss, optimizer, random order, early stopping and class
weights are those of `model.fit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.history import History
from benison.components.train.imbalance import ClassBalance
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows

if TYPE_CHECKING:
    import keras

_ROWS_TO_EVALUATE = 4096


class Loop:
    """The training of one compiled model, once or several times from its first weights.

    Args:
        model: the model, with its first weights.
        spec: the transformed features, see `member.feature_spec`.
        label: type of the labels.
        recipe: settings of the member.
    """

    def __init__(self, model: keras.Model, spec: Mapping[str, Any], label: Any, recipe: Recipe) -> None:
        model.optimizer.build(model.trainable_variables)
        self._model = model
        self._recipe = recipe
        self._variables = [*model.variables, *model.optimizer.variables]
        self._first = [np.asarray(variable) for variable in self._variables]
        self._epoch, self._loss = _functions(model, spec, label)

    def restart(self) -> keras.Model:
        """Give the model its first weights again, and the optimizer and random generators their first state."""
        for variable, value in zip(self._variables, self._first, strict=True):
            variable.assign(value)
        return self._model

    def fit(self, learn: ArrayRows, stop: ArrayRows | int, balance: ClassBalance) -> History:
        """Train until the loss on `stop` no longer falls, or for `stop` epochs.

        Args:
            learn: the rows to learn from.
            stop: the rows that tell when to stop, or the number of epochs.
            balance: the method for rare classes.

        Returns:
            The losses, and the best epoch.
        """
        rows = _tensors(learn, balance.training_weights(learn.targets, learn.weights))
        held_out = None
        if not isinstance(stop, int):
            held_out = _tensors(stop, balance.validation_weights(stop.targets, stop.weights))
        splits = {"train": [(learn.features,)], **({} if isinstance(stop, int) else {"valid": [(stop.features,)]})}
        guard = stop_if_not_finite(self._recipe.name or self._recipe.function, splits)
        guard.set_model(self._model)
        best, best_epoch = math.inf, 0
        weights: list[NDArray] = []
        history = []
        for epoch, order in enumerate(self._orders(learn, balance, stop)):
            guard.on_epoch_begin(epoch)
            losses = {"loss": float(self._epoch(*rows, order, self._recipe.batch_size))}
            if held_out is not None:
                losses["val_loss"] = float(self._loss(*held_out))
            guard.on_epoch_end(epoch, losses)
            history.append(losses)
            if held_out is None:
                best_epoch = epoch + 1
            elif losses["val_loss"] < best:
                best, best_epoch = losses["val_loss"], epoch + 1
                weights = [np.asarray(weight) for weight in self._model.weights]
            elif epoch + 1 >= best_epoch + self._recipe.patience:
                break
        for weight, value in zip(self._model.weights, weights, strict=False):
            weight.assign(value)
        if held_out is None:
            print(f"{len(history)} epochs; loss {history[-1]['loss']:.4f}")
        else:
            print(f"{len(history)} epochs; best loss on other rows {best:.4f}")
        return History("epoch", best_epoch - 1, {name: [losses[name] for losses in history] for name in history[0]})

    def _orders(self, learn: ArrayRows, balance: ClassBalance, stop: ArrayRows | int) -> Iterator[NDArray]:
        """Yield the rows of each epoch in a random order."""
        random = np.random.default_rng(self._recipe.seed)
        for _ in range(stop if isinstance(stop, int) else self._recipe.epochs):
            yield balance.draw(learn.targets, random.permutation(len(learn)), random).astype(np.int32)


def _tensors(rows: ArrayRows, weights: NDArray) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    features = {name: tf.constant(values) for name, values in rows.features.items()}
    return features, tf.constant(rows.targets), tf.constant(weights)


def _functions(model: keras.Model, spec: Mapping[str, Any], label: Any) -> tuple[Any, Any]:
    """Return two TensorFlow functions: train one epoch; compute the loss of rows."""
    import tensorflow as tf

    rows_spec = (
        {name: tf.TensorSpec([None, *(feature.shape or [1])], feature.dtype) for name, feature in spec.items()},
        tf.TensorSpec([None], tf.as_dtype(label)),
        tf.TensorSpec([None], tf.float32),
    )
    size = tf.TensorSpec([], tf.int32)

    def loss_of(rows: Any, chosen: Any, *, training: bool) -> Any:
        features, labels, weights = tf.nest.map_structure(lambda values: tf.gather(values, chosen), rows)
        answer = model(features, training=training)
        # As Keras's Model.fit: a label has the rank of the answer.
        return model.compute_loss(features, labels[:, None], answer, weights, training=training)

    @tf.function(input_signature=[*rows_spec, tf.TensorSpec([None], tf.int32), size], autograph=False)
    def epoch(features: Any, labels: Any, weights: Any, order: Any, batch: Any) -> Any:
        rows = (features, labels, weights)

        def step(start: Any, total: Any) -> tuple[Any, Any]:
            chosen = order[start : start + batch]
            with tf.GradientTape() as tape:
                loss = loss_of(rows, chosen, training=True)
                scaled = model.optimizer.scale_loss(loss)
            variables = model.trainable_variables
            model.optimizer.apply(tape.gradient(scaled, variables), variables)
            return start + batch, total + tf.cast(loss, tf.float32) * tf.cast(tf.size(chosen), tf.float32)

        _, total = tf.while_loop(lambda start, _: start < tf.size(order), step, (0, 0.0))
        return total / tf.cast(tf.size(order), tf.float32)

    @tf.function(input_signature=rows_spec, autograph=False)
    def loss(features: Any, labels: Any, weights: Any) -> Any:
        rows, count = (features, labels, weights), tf.size(labels)

        def step(start: Any, total: Any) -> tuple[Any, Any]:
            chosen = tf.range(start, tf.minimum(start + _ROWS_TO_EVALUATE, count))
            part = tf.cast(loss_of(rows, chosen, training=False), tf.float32)
            return start + _ROWS_TO_EVALUATE, total + part * tf.cast(tf.size(chosen), tf.float32)

        _, total = tf.while_loop(lambda start, _: start < count, step, (0, 0.0))
        return total / tf.cast(count, tf.float32)

    return epoch, loss
