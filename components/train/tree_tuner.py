"""The search for the hyperparameters of trees: KerasTuner's oracles choose values, and a trial fits a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train import out_of_fold
from benison.components.train.fitting import Fitter
from benison.components.train.rows import ArrayRows
from benison.serving.errors import UsageError

OBJECTIVE = "val_loss"
_SMALLEST = 1e-7  # probability, as in Keras's cross-entropy


def tree_tuner(base: Any, fitter_of: Callable[[Any], Fitter], problem: str, failed: Callable[[str], Exception]) -> Any:
    """Return a class of tuners, whose `search` takes the rows `learn` and `stop`.

    Args:
        base: a child of KerasTuner's BaseTuner that has `tuner`'s `record`.
        fitter_of: from hyperparameters to the Fitter of a trial.
        problem: binary, multiclass or regression.
        failed: from a reason to the exception for a trial that failed.
    """

    class TreeTuner(base):
        def run_trial(self, trial: Any, learn: ArrayRows, stop: ArrayRows, **_: Any) -> Mapping[str, float]:
            try:
                fitted = fitter_of(trial.hyperparameters).fit(learn, stop)
            except UsageError as error:
                raise failed(str(error)) from error
            value = loss(out_of_fold.answer(fitted.predict, stop), stop, problem)
            if not np.isfinite(value):
                raise failed("the loss on valid is not finite")
            values = dict(trial.hyperparameters.values)
            self.record(trial, fitted.history)
            print(f"trial {trial.trial_id}: {values}: {fitted.rounds} rounds, loss {value:.5g}", flush=True)
            return {OBJECTIVE: value}

    return TreeTuner


def loss(answers: NDArray, rows: ArrayRows, problem: str) -> float:
    """Return the mean cross-entropy of probabilities [rows, classes], or the mean squared error of [rows, 1].

    Rows count by their sample weights.
    """
    numbers = answers.astype(np.float64)
    if problem == "regression":
        return float(np.average((numbers[:, 0] - rows.targets) ** 2, weights=rows.row_weights))
    own = numbers[np.arange(len(rows)), rows.targets]
    return float(np.average(-np.log(np.maximum(own, _SMALLEST)), weights=rows.row_weights))
