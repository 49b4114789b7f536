"""The trials of a member that learns from rows in memory, such as trees: each trial fits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train import out_of_fold
from benison.components.train.fitting import Fitter
from benison.components.train.rows import ArrayRows
from benison.components.tuning.finished_trials import Histories, failed_trial
from benison.components.tuning.goal import LOSS, Goal
from benison.serving.errors import UsageError

_SMALLEST = 1e-7  # probability, as in Keras's cross-entropy


def table_tuner(
    fitter_of: Callable[[Any], Fitter], problem: str, goal: Goal, oracle: Any, folder: Path, histories: Histories
) -> Any:
    """Return the KerasTuner of a member; its `search` takes the rows `learn` and `stop`.

    Args:
        fitter_of: from hyperparameters to the Fitter of a trial.
        problem: binary, multiclass or regression.
        goal: what a trial is judged by.
        oracle: KerasTuner's oracle.
        folder: working folder of the search.
        histories: keeps the losses of each trial.
    """
    from keras_tuner.engine.base_tuner import BaseTuner

    class Tuner(BaseTuner):
        def run_trial(self, trial: Any, learn: ArrayRows, stop: ArrayRows, **_: Any) -> Mapping[str, float]:
            try:
                fitted = fitter_of(trial.hyperparameters).fit(learn, stop)
            except UsageError as error:
                raise failed_trial(str(error)) from error
            answers = out_of_fold.answer(fitted.predict, stop)
            numbers = {LOSS: loss(answers, stop, problem)}
            if goal.metric is not None:
                numbers[goal.name] = goal.value(answers, stop.targets, stop.weights)
            if not np.isfinite(list(numbers.values())).all():
                raise failed_trial(f"{' or '.join(numbers)} is not finite")
            histories.keep(trial.trial_id, fitted.history)
            written = ", ".join(f"{name} {value:.5g}" for name, value in numbers.items())
            print(f"trial {trial.trial_id}: {trial.hyperparameters.values}: {fitted.rounds} rounds, {written}")
            return numbers

    return Tuner(oracle=oracle, directory=str(folder), project_name="keras_tuner")


def loss(answers: NDArray, rows: ArrayRows, problem: str) -> float:
    """Return the mean cross-entropy of probabilities [rows, classes], or the mean squared error of [rows, 1].

    Rows count by their sample weights.
    """
    numbers = answers.astype(np.float64)
    if problem == "regression":
        return float(np.average((numbers[:, 0] - rows.targets) ** 2, weights=rows.row_weights))
    own = numbers[np.arange(len(rows)), rows.targets]
    return float(np.average(-np.log(np.maximum(own, _SMALLEST)), weights=rows.row_weights))
