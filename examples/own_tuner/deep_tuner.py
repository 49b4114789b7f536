"""A tuner of one's own: a Bayesian oracle chooses the values, and each trial also chooses its batch size."""

from __future__ import annotations

from typing import Any

import keras_tuner


class DeepTuner(keras_tuner.Tuner):
    """A KerasTuner whose trials train with a batch size among their hyperparameters.

    Args:
        oracle: chooses the values of each trial.
        batch_sizes: the batch sizes to choose from.
    """

    def __init__(self, oracle: Any, batch_sizes: list[int], **options: Any) -> None:
        super().__init__(oracle, **options)
        self.batch_sizes = batch_sizes

    def run_trial(self, trial: Any, x: Any, y: Any, validation_data: Any, **options: Any) -> dict[str, float]:
        """Train a model, and report its loss on `valid`."""
        hp = trial.hyperparameters
        model = self.hypermodel.build(hp)
        history = model.fit(
            x,
            y,
            batch_size=hp.Choice("batch_size", self.batch_sizes),
            validation_data=validation_data,
            **options,
        )
        return {"val_loss": min(history.history["val_loss"])}
