"""The trials of a Keras member: each trains it on `train`, with early stopping on `valid`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.components.train import answers, member
from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.history import of_keras
from benison.components.train.imbalance import ClassBalance
from benison.components.train.search_space import with_batch_size
from benison.components.tuning.finished_trials import Histories, failed_trial
from benison.components.tuning.goal import Goal


@dataclass(frozen=True)
class Learning:
    """The settings and rows that the trials of a Keras member share.

    Attributes:
        recipe: settings of the member.
        spec: the transformed features, see `member.feature_spec`.
        classes: number of classes; 0 for regression.
        target: the scale of a regression's label.
        balance: the method for rare classes.
        train: the rows to learn from, single rows (features, label) or (features, label, sample weight).
        valid: the rows to stop and judge by.
        goal: what a trial is judged by.
        epochs: epochs of a trial.
        profile: the first and the last batch that TensorFlow profiles; None: no profile.
    """

    recipe: member.Recipe
    spec: Mapping[str, Any]
    classes: int
    target: member.TargetScale | None
    balance: ClassBalance
    train: Any
    valid: Any
    goal: Goal
    epochs: int
    profile: Sequence[int] | None = None


def keras_tuner_of(learning: Learning, oracle: Any, folder: Path, histories: Histories) -> Any:
    """Return the KerasTuner of a member; its `search` takes no arguments.

    Args:
        learning: what the trials share.
        oracle: KerasTuner's oracle.
        folder: working folder of the search.
        histories: keeps the losses of each trial.
    """
    import keras_tuner

    is_hyperband = isinstance(oracle, keras_tuner.oracles.HyperbandOracle)
    kind: Any = keras_tuner.Hyperband if is_hyperband else keras_tuner.Tuner

    class Tuner(kind):
        def __init__(self, **options: Any) -> None:
            keras_tuner.Tuner.__init__(self, **options)  # Hyperband's own makes an oracle

        def run_trial(self, trial: Any, **options: Any) -> Any:
            logs = histories.events(trial.trial_id)
            results = super().run_trial(trial, epochs=learning.epochs, logs=logs, **options)
            histories.keep(trial.trial_id, of_keras(self.hypermodel.history.history))
            return results

    return Tuner(oracle=oracle, hypermodel=hypermodel(learning), directory=str(folder), project_name="keras_tuner")


def hypermodel(learning: Learning) -> Any:
    """Return the keras_tuner.HyperModel of a member: it builds the model of a trial, and fits it."""
    import keras
    import keras_tuner

    recipe, goal = learning.recipe, learning.goal

    class Member(keras_tuner.HyperModel):
        history: Any = None

        def build(self, hp: Any) -> keras.Model:
            keras.utils.set_random_seed(recipe.seed)
            return member.build_model(recipe, hp, learning.spec, learning.classes, learning.target)

        def fit(self, hp: Any, model: Any, *, logs: Path, callbacks: Sequence[Any], **options: Any) -> Any:
            # New datasets for each trial: one that is iterated again has another order, so that a trial would depend on
            # the trials before it in its process.
            own = with_batch_size(recipe, hp)
            train = member.balanced_batches(learning.train, own, learning.balance, learn=True)
            valid = member.balanced_batches(learning.valid, own, learning.balance, learn=False)
            self.history = model.fit(
                train,
                validation_data=valid,
                callbacks=[
                    # Also if an earlier epoch was good: the member is trained for more epochs than a trial.
                    stop_if_not_finite(recipe.name or recipe.function, {"train": train, "valid": valid}, failed_trial),
                    keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True),
                    *([keras.callbacks.TensorBoard(logs, profile_batch=learning.profile)] if learning.profile else []),
                    *callbacks,
                ],
                verbose=2,
                **options,
            )
            if goal.metric is None:
                return self.history

            def predict(features: Any) -> Any:
                return learning.balance.correct(answers.as_promised(model(features, training=False), recipe.problem))

            value = goal.value_of_batches(predict, learning.valid.batch(own.batch_size))
            return {goal.name: value, "val_loss": min(self.history.history["val_loss"])}

    return Member()
