"""KerasTuner's oracles, which choose the values of the next trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.components.tuning.goal import Goal

_NO_LIMIT = 1_000_000
_SEED_OF_ZERO = 2**31 - 1  # KerasTuner replaces the seed 0 by a random one


def oracle(search: Mapping[str, Any], goal: Goal, hp: Any, seed: int) -> Any:
    """Return the oracle of a search. It tries every trial: KerasTuner itself would stop after three failures in turn.

    Args:
        search: {algorithm, trials, epochs}; Hyperband derives the number of trials from the epochs.
        goal: what the trials are judged by.
        hp: KerasTuner's HyperParameters, with the search space.
        seed: seed of the search.
    """
    import keras_tuner
    from keras_tuner import oracles

    options = {
        "objective": keras_tuner.Objective(goal.name, goal.direction),
        "hyperparameters": hp,
        "seed": seed or _SEED_OF_ZERO,
        "max_consecutive_failed_trials": _NO_LIMIT,
    }
    if search["algorithm"] == "hyperband":
        return oracles.HyperbandOracle(max_epochs=search["epochs"], **options)
    kinds = {"grid": oracles.GridSearchOracle, "bayesian": oracles.BayesianOptimizationOracle}
    return kinds.get(search["algorithm"], oracles.RandomSearchOracle)(max_trials=search["trials"], **options)
