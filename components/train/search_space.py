"""The hyperparameters of a member: fixed values, and the search space of the Tuner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benison.components.train.member import Recipe

BATCH_SIZE = "batch_size"  # the hyperparameter that replaces the member's own batch_size


def fixed_hyperparameters(recipe: Recipe) -> Any:
    """Return KerasTuner's HyperParameters with the fixed values of a member."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    for name, value in recipe.hyperparameters.items():
        hp.Fixed(name, value)
    return hp


def hyperparameters(recipe: Recipe) -> Any:
    """Return KerasTuner's HyperParameters with the fixed values and the search space of a member."""
    hp = fixed_hyperparameters(recipe)
    for name, values in (recipe.tuner or {}).get("space", {}).items():
        declare(hp, name, values)
    return hp


def declare(hp: Any, name: str, values: Any) -> None:
    """Add one hyperparameter to a search space.

    Args:
        hp: KerasTuner's HyperParameters.
        name: name of the hyperparameter.
        values: a list of choices, or a range {min, max, step, sampling}, of integers if both ends are integers.
    """
    if isinstance(values, (list, tuple)):
        hp.Choice(name, list(values))
        return
    whole = isinstance(values["min"], int) and isinstance(values["max"], int)
    options = {key: values[key] for key in ("step", "sampling") if values.get(key) is not None}
    (hp.Int if whole else hp.Float)(name, values["min"], values["max"], **options)


def with_batch_size(recipe: Recipe, hp: Any) -> Recipe:
    """Return a member's settings with the batch size among its hyperparameters, if it is one."""
    return replace(recipe, batch_size=int(hp.values[BATCH_SIZE])) if BATCH_SIZE in hp.values else recipe
