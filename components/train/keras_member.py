"""The kind `keras`: a member that is a Keras model, built by the user's function and trained by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benison.components.train import answers, distributed, keras_loop, member
from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.fitting import Fitted, Task, class_balance, target_scale
from benison.components.train.history import History, of_keras
from benison.components.train.imbalance import ClassBalance
from benison.components.train.rows import ArrayRows, FileRows, Rows

if TYPE_CHECKING:
    import keras
    import tensorflow as tf


class KerasFitter:
    """Trains the Keras model of a member, with early stopping or for a number of epochs.

    Rows in memory are learnt by `keras_loop`, which takes a fifth of the time of Keras's own loop on small tables. It
    learns as Keras does with our loss and optimizer; a model that the user's function compiled, or whose train_step is
    its own, may learn in any way, so Keras trains it.
    """

    needs_stop = True

    def __init__(self, task: Task) -> None:
        self._task = task
        self._loop: keras_loop.Loop | None = None
        self._target: member.TargetScale | None = None
        self._is_ours = True

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """See `fitting.Fitter`."""
        import keras

        recipe = self._task.recipe
        keras.utils.set_random_seed(recipe.seed)
        is_fold = isinstance(learn, ArrayRows) and not isinstance(stop, int)
        logs = None if is_fold else self._task.logs
        learn, stop = learn.in_memory(), stop if isinstance(stop, int) else stop.in_memory()
        balance = class_balance(recipe, learn, self._task.classes)
        if self._loop is None:
            model = self._build(learn)
            if isinstance(learn, ArrayRows) and self._is_ours:
                self._loop = keras_loop.Loop(model, self._task.spec, learn.targets.dtype, recipe)
        if self._loop is not None:
            model = self._loop.restart()
            self._set_target(learn)
        if recipe.distribute > 1:
            scale = target_scale(recipe, learn)
            options = (recipe, self._task.hp, self._task.spec, self._task.classes, scale, learn, stop, balance)
            history = distributed.fit(model, *options)
        elif self._loop is not None:
            assert isinstance(learn, ArrayRows)
            history = self._loop.fit(learn, stop if isinstance(stop, int) else stop.arrays(), balance)
        else:
            history = self._fit_by_keras(model, learn, stop, balance, logs)

        def predict(transformed: Mapping[str, Any]) -> Any:
            return balance.correct(answers.as_promised(model(transformed), recipe.problem))

        return Fitted(predict, 1 + (history.best or 0), tracked=[model], history=history)

    def _build(self, rows: Rows) -> keras.Model:
        """Build the model, and check its answers to some rows."""
        import keras

        recipe, classes = self._task.recipe, self._task.classes
        scale = target_scale(recipe, rows)
        self._target = None if scale is None else member.TargetScale(*scale)
        model = member.assemble(recipe, self._task.hp, self._task.spec, classes, self._target)
        self._is_ours = not model.compiled and type(model).train_step is keras.Model.train_step
        if not model.compiled:
            member.compile_model(model, recipe, self._task.hp, self._target)
        if (features := rows.first()) is not None:
            answers.check_model(model, features, answers.Promise(recipe.problem, classes), recipe.function)
        return model

    def _set_target(self, rows: Rows) -> None:
        if self._target is not None and (scale := target_scale(self._task.recipe, rows)) is not None:
            self._target.mean.assign(scale[0])
            self._target.deviation.assign(scale[1])

    def _fit_by_keras(
        self, model: keras.Model, learn: Rows, stop: Rows | int, balance: ClassBalance, logs: str | None
    ) -> History:
        """Train a model, and return its losses and the best epoch."""
        import keras

        recipe = self._task.recipe
        splits = {"train": self._dataset(learn, balance, learn=True)}
        if not isinstance(stop, int):
            splits["valid"] = self._dataset(stop, balance, learn=False)
        callbacks = [stop_if_not_finite(recipe.name or recipe.function, splits)]
        if "valid" in splits:
            callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
        if logs is not None:
            callbacks.append(keras.callbacks.TensorBoard(logs))
        losses = model.fit(
            splits["train"],
            validation_data=splits.get("valid"),
            epochs=stop if isinstance(stop, int) else recipe.epochs,
            callbacks=callbacks,
            shuffle=False,  # the dataset is shuffled already
            verbose=2,
        ).history
        if on_valid := losses.get("val_loss"):
            print(f"{len(on_valid)} epochs; best loss on valid {min(on_valid):.4f}")
        return of_keras(losses)

    def _dataset(self, rows: Rows, balance: ClassBalance, *, learn: bool) -> tf.data.Dataset:
        recipe = self._task.recipe
        if isinstance(rows, FileRows):
            return member.dataset(rows.files, rows.transform, recipe, balance, learn=learn)
        return member.balanced_batches(rows.arrays().dataset(), recipe, balance, learn=learn)
