"""What TFX's Tuner runs for a member with a search space: a KerasTuner search on `train`, judged on `valid`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.components.train import member
from benison.components.train.trainer import fixed_hyperparameters

_NO_LIMIT = 1_000_000


def tuner_fn(fn_args: Any) -> Any:
    """The search for one member; TFX's contract for Tuner(tuner_fn=…).

    Args:
        fn_args: TFX's FnArgs; `custom_config` holds `recipe` (see `member.Recipe`), whose `tuner` is
            {algorithm, trials, epochs, space}.

    Returns:
        TFX's TunerFnResult.
    """
    import keras
    import tensorflow_transform as tft
    from tfx.components.tuner.component import TunerFnResult

    recipe = member.Recipe(**fn_args.custom_config["recipe"])
    search = recipe.tuner or {}
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    balance = member.class_balance(fn_args.train_files, transform, recipe)
    hp = fixed_hyperparameters(recipe)
    for name, values in search["space"].items():
        declare_hyperparameter(hp, name, values)

    target = member.target_scale(fn_args.train_files, transform, recipe)

    def build(hp: Any) -> keras.Model:
        keras.utils.set_random_seed(recipe.seed)
        return member.build_model(recipe, hp, transform, target)

    return TunerFnResult(
        tuner=build_tuner(search, build, hp, recipe.seed, fn_args.working_dir),
        fit_kwargs={
            "x": member.dataset(fn_args.train_files, transform, recipe, balance, learn=True),
            "validation_data": member.dataset(fn_args.eval_files, transform, recipe, balance, learn=False),
            "epochs": search["epochs"],
            "callbacks": [keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)],
            "verbose": 2,
        },
    )


def build_tuner(search: Mapping[str, Any], build: Any, hp: Any, seed: int, folder: str) -> Any:
    """The KerasTuner of that name. Hyperband takes no number of trials: it follows from the epochs."""
    import keras_tuner

    common = {
        "hypermodel": build,
        "objective": "val_loss",
        "hyperparameters": hp,
        "directory": folder,
        "project_name": "search",
        "overwrite": True,
    }
    algorithm, trials = search["algorithm"], search["trials"]
    if algorithm == "hyperband":
        tuner = keras_tuner.Hyperband(max_epochs=search["epochs"], seed=seed, **common)
        tuner.oracle.max_trials = _NO_LIMIT  # TFX asks for the best of that many, and Hyperband leaves it empty
        return tuner
    if algorithm == "grid":
        return keras_tuner.GridSearch(max_trials=trials, seed=seed, **common)
    if algorithm == "bayesian":
        return keras_tuner.BayesianOptimization(max_trials=trials, seed=seed, **common)
    return keras_tuner.RandomSearch(max_trials=trials, seed=seed, **common)


def declare_hyperparameter(hp: Any, name: str, values: Any) -> None:
    """Adds one hyperparameter: a list is a choice, {min, max, step, sampling} a range, of ints where both ends are."""
    if isinstance(values, (list, tuple)):
        hp.Choice(name, list(values))
        return
    whole = isinstance(values["min"], int) and isinstance(values["max"], int)
    options = {key: values[key] for key in ("step", "sampling") if values.get(key) is not None}
    (hp.Int if whole else hp.Float)(name, values["min"], values["max"], **options)
