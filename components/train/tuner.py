"""The tuner_fn of TFX's Tuner: a KerasTuner search for one member, trained on `train` and evaluated on `valid`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benison.components import feature_groups, users_line
from benison.components.train import answers, kinds, member, tree_tuner
from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.fitting import Fitter, Task, class_balance, target_scale
from benison.components.train.history import EVENTS, TRIALS, History, of_keras
from benison.components.train.rows import FileRows
from benison.components.train.trainer import fixed_hyperparameters
from benison.serving.errors import UsageError

_NO_LIMIT = 1_000_000


def tuner_fn(fn_args: Any) -> Any:
    """Return the search for one member; TFX's contract for Tuner(tuner_fn=…).

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
    if recipe.kind != "keras":
        return _search_in_memory(fn_args, recipe, search, transform)
    rows = FileRows(fn_args.train_files, transform)
    spec, classes = member.feature_spec(transform), len(member.class_names(transform))
    balance = class_balance(recipe, rows, classes)
    hp = fixed_hyperparameters(recipe)
    for name, values in search["space"].items():
        declare_hyperparameter(hp, name, values)

    scale = target_scale(recipe, rows)
    target = None if scale is None else member.TargetScale(*scale)
    model = member.build_model(recipe, hp, spec, classes, target)
    if (features := rows.first()) is not None:  # once: a trial has the same outputs
        answers.check_model(model, features, answers.Promise(recipe.problem, classes), recipe.function)

    def build(hp: Any) -> keras.Model:
        keras.utils.set_random_seed(recipe.seed)
        return member.build_model(recipe, hp, spec, classes, target)

    name = recipe.name or recipe.function
    train = member.dataset(fn_args.train_files, transform, recipe, balance, learn=True)
    valid = member.dataset(fn_args.eval_files, transform, recipe, balance, learn=False)
    return TunerFnResult(
        tuner=build_tuner(search, build, hp, recipe.seed, fn_args.working_dir, _results(fn_args)),
        fit_kwargs={
            "x": train,
            "validation_data": valid,
            "epochs": search["epochs"],
            "callbacks": [
                # Also if an earlier epoch was good: the member is trained for more epochs than a trial.
                stop_if_not_finite(name, {"train": train, "valid": valid}, failed_trial),
                keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True),
            ],
            "verbose": 2,
        },
    )


def _search_in_memory(fn_args: Any, recipe: member.Recipe, search: Mapping[str, Any], transform: Any) -> Any:
    """Return the search for a member that is no network: each trial learns from `train` and is judged by `valid`."""
    from tfx.components.tuner.component import TunerFnResult

    group = kinds.GROUPS[recipe.kind]
    spec, classes = member.feature_spec(transform, group), len(member.class_names(transform))
    names = feature_groups.read_names(group, fn_args.transform_graph_path)
    hp = fixed_hyperparameters(recipe)
    for name, values in search["space"].items():
        declare_hyperparameter(hp, name, values)

    def fitter_of(values: Any) -> Fitter:
        return kinds.fitter(Task(recipe, values, spec, classes, None, names))

    rows = {
        key: FileRows(files, transform, group).arrays()
        for key, files in (("learn", fn_args.train_files), ("stop", fn_args.eval_files))
    }
    return TunerFnResult(
        tuner=build_tree_tuner(
            search, fitter_of, recipe.problem, hp, recipe.seed, fn_args.working_dir, _results(fn_args)
        ),
        fit_kwargs=rows,
    )


def _results(fn_args: Any) -> Path | None:
    """Return the folder of the Tuner's results, see `benison.components.tuner_node`."""
    folder = fn_args.custom_config.get("results")
    return Path(folder) if folder else None


def build_tree_tuner(
    search: Mapping[str, Any],
    fitter_of: Callable[[Any], Fitter],
    problem: str,
    hp: Any,
    seed: int,
    folder: str,
    results: Path | None = None,
) -> Any:
    """Return the KerasTuner for a search over trees; its `search` takes the rows `learn` and `stop`.

    Args:
        search: {algorithm, trials}; the algorithm is random, grid or bayesian.
        fitter_of: from hyperparameters to the Fitter of a trial.
        problem: binary, multiclass or regression.
        hp: KerasTuner's HyperParameters, with the search space.
        seed: seed of the search.
        folder: working folder of the search.
        results: folder for the histories of the trials; None for none.
    """
    import keras_tuner

    oracles = {
        "grid": keras_tuner.oracles.GridSearchOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    }
    oracle = oracles.get(search["algorithm"], keras_tuner.oracles.RandomSearchOracle)(
        objective=keras_tuner.Objective(tree_tuner.OBJECTIVE, "min"),
        max_trials=search["trials"],
        hyperparameters=hp,
        seed=seed,
        max_consecutive_failed_trials=_NO_LIMIT,
    )
    kind = tree_tuner.tree_tuner(
        _with_result(keras_tuner.engine.base_tuner.BaseTuner, results), fitter_of, problem, failed_trial
    )
    return kind(oracle=oracle, directory=folder, project_name="search", overwrite=True)


def failed_trial(reason: str) -> Exception:
    """Print why a trial failed, and return KerasTuner's exception, after which it continues with the next trial."""
    from keras_tuner.errors import FailedTrialError

    print(f"trial failed: {reason}", flush=True)
    return FailedTrialError(reason)


def _with_result(kind: Any, results: Path | None) -> Any:
    """Return a class of tuners that try every trial, and raise UsageError if all of them failed.

    KerasTuner would stop after three failures in turn, and TFX would look for the best of no trials. The losses of
    each trial are written into `histories` and `logs` of the folder `results`.
    """

    class Tuner(kind):
        def record(self, trial: Any, history: History | None) -> None:
            if results is not None and history is not None:
                history.save(results / TRIALS / f"{trial.trial_id}.json")
                history.write_events(results / EVENTS / trial.trial_id)

        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            trained = super().run_trial(trial, *args, **kwargs)
            self.record(trial, of_keras(trained[0].history))
            return trained

        def on_search_end(self) -> None:
            super().on_search_end()
            trials = list(self.oracle.trials.values())
            if not any(trial.status == "COMPLETED" for trial in trials):
                message = (trials[0].message or "").strip() if trials else "there was none"
                place = users_line.place_in(message)
                reason = f"{''.join(message.splitlines()[-1:])}{f' ({place})' if place else ''}"
                raise UsageError(f"all {len(trials)} trials of the Tuner failed; the first one: {reason}")

    return Tuner


def build_tuner(
    search: Mapping[str, Any], build: Any, hp: Any, seed: int, folder: str, results: Path | None = None
) -> Any:
    """Return the KerasTuner for a search.

    Args:
        search: {algorithm, trials, epochs}; Hyperband derives the number of trials from the epochs.
        build: function from hyperparameters to a compiled model.
        hp: KerasTuner's HyperParameters, with the search space.
        seed: seed of the search.
        folder: working folder of the search.
        results: folder for the histories of the trials; None for none.
    """
    import keras_tuner

    common = {
        "hypermodel": build,
        "objective": "val_loss",
        "hyperparameters": hp,
        "directory": folder,
        "project_name": "search",
        "overwrite": True,
        "max_consecutive_failed_trials": _NO_LIMIT,
    }
    if search["algorithm"] == "hyperband":
        tuner = _with_result(keras_tuner.Hyperband, results)(max_epochs=search["epochs"], seed=seed, **common)
        tuner.oracle.max_trials = _NO_LIMIT  # TFX reads this number, and Hyperband does not set it
        return tuner
    kinds = {"grid": keras_tuner.GridSearch, "bayesian": keras_tuner.BayesianOptimization}
    kind = kinds.get(search["algorithm"], keras_tuner.RandomSearch)
    return _with_result(kind, results)(max_trials=search["trials"], seed=seed, **common)


def declare_hyperparameter(hp: Any, name: str, values: Any) -> None:
    """Add one hyperparameter to the search space.

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
