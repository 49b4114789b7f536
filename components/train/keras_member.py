"""The kind `keras`: a member that is a Keras model, built by the user's function and trained by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benison.components.train import answers, member
from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.fitting import Fitted, Task, class_balance, target_scale
from benison.components.train.imbalance import ClassBalance
from benison.components.train.rows import FileRows, Rows

if TYPE_CHECKING:
    import tensorflow as tf


class KerasFitter:
    """Trains the Keras model of a member, with early stopping or for a number of epochs."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """See `fitting.Fitter`."""
        import keras

        recipe = self._task.recipe
        keras.utils.set_random_seed(recipe.seed)
        balance = class_balance(recipe, learn, self._task.classes)
        model = member.build_checked(
            recipe, self._task.hp, self._task.spec, self._task.classes, learn.first(), target_scale(recipe, learn)
        )
        splits = {"train": self._dataset(learn, balance, learn=True)}
        if not isinstance(stop, int):
            splits["valid"] = self._dataset(stop, balance, learn=False)
        callbacks = [stop_if_not_finite(recipe.name or recipe.function, splits)]
        if "valid" in splits:
            callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True))
        if self._task.logs is not None:
            callbacks.append(keras.callbacks.TensorBoard(self._task.logs))
        history = model.fit(
            splits["train"],
            validation_data=splits.get("valid"),
            epochs=stop if isinstance(stop, int) else recipe.epochs,
            callbacks=callbacks,
            verbose=2,
        ).history
        rounds = len(history["loss"])
        if losses := history.get("val_loss"):
            print(f"{rounds} epochs; best loss on valid {min(losses):.4f}")
            rounds = losses.index(min(losses)) + 1

        def predict(transformed: Mapping[str, Any]) -> Any:
            return balance.correct(answers.as_promised(model(transformed), recipe.problem))

        return Fitted(predict, rounds, tracked=[model])

    def _dataset(self, rows: Rows, balance: ClassBalance, *, learn: bool) -> tf.data.Dataset:
        assert isinstance(rows, FileRows)
        return member.dataset(rows.files, rows.transform, self._task.recipe, balance, learn=learn)
