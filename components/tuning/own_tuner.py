"""The trials of a user's own tuner class, a child of keras_tuner.Tuner with its own `run_trial`.

The class is called with those of these arguments that its `__init__` names: `oracle`, `hypermodel`, `objective`,
`max_trials`, `hyperparameters`, `seed`, `directory`, `project_name`, and the `arguments` of the YAML. Its `search` gets
the rows as arrays, so that a trial can choose its batch size:

    search(x, y, validation_data=(x, y), epochs=…, verbose=2)

`x` is a dict of the transformed features [rows, n] by name, `y` the class ids or numbers [rows]. Rows with weights add
`sample_weight`, and a third part to `validation_data`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benison.components import user_code
from benison.components.train import answers
from benison.components.train.dry_run import Project, tried
from benison.components.train.fitting import drawn
from benison.components.train.history import of_keras
from benison.components.train.imbalance import ClassBalance
from benison.components.train.rows import ArrayRows
from benison.components.tuning.finished_trials import Histories
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError


def load(reference: str) -> Any:
    """Import a tuner class.

    Raises:
        UsageError: the file does not define it, or it is no child of KerasTuner's tuners with a run_trial.
    """
    from keras_tuner.engine.base_tuner import BaseTuner

    found: Any = user_code.load(reference)
    if not (isinstance(found, type) and issubclass(found, BaseTuner)):
        raise UsageError(f"{reference}: expected a class that derives from keras_tuner.Tuner")
    return found


def faults(reference: str, arguments: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a tuner class before it is called, one line each.

    Args:
        reference: the class.
        arguments: the `arguments` of the YAML.

    Raises:
        UsageError: see `load`.
    """
    cls = load(reference)
    names = _parameters(cls)
    lines = [
        f"its __init__ has no argument {name!r}{did_you_mean(name, sorted(names))}"
        for name in arguments
        if name not in names
    ]
    try:
        inspect.signature(cls.run_trial).bind(None, None, None, None, validation_data=None, epochs=1, verbose=2)
    except TypeError as error:
        lines.append(f"run_trial: {error}; expected run_trial(self, trial, x, y, validation_data, **options)")
    return lines


def mistakes(project: Project) -> list[str]:
    """Return the mistakes in the tuner classes of a project, one line each with its key in the YAML."""
    tuners = {str(fields["name"]): fields["tuner"] or {} for fields in project.recipes}
    return [
        f"ensemble.members.{name}.tuner.class: {line}"
        for name, tuner in tuners.items()
        if "class" in tuner
        for line in tried(tuner["class"], lambda cls, tuner=tuner: faults(cls, tuner["arguments"]))
    ]


def own_tuner(
    reference: str,
    arguments: Mapping[str, Any],
    make_oracle: Callable[[], Any],
    offered: Mapping[str, Any],
    folder: Path,
    histories: Histories,
) -> Any:
    """Call a tuner class; its trials keep their losses if run_trial returns what Keras's fit returns.

    Args:
        reference: the class.
        arguments: the `arguments` of the YAML, which come first.
        make_oracle: makes the oracle of the YAML, for a class that takes one.
        offered: hypermodel, objective, max_trials, hyperparameters and seed.
        folder: working folder of the search.
        histories: keeps the losses of each trial.

    Raises:
        UsageError: the class fails; the message names its line.
    """
    import keras

    cls = load(reference)
    places = {"directory": str(folder), "project_name": "keras_tuner"}
    with answers.at(reference):
        tuner = cls(**{**_chosen(cls, make_oracle, {**offered, **places}), **arguments})
    run = tuner.run_trial

    def run_trial(trial: Any, *args: Any, **options: Any) -> Any:
        results = run(trial, *args, **options)
        last = results[-1] if isinstance(results, list) and results else results
        if isinstance(last, keras.callbacks.History) and "loss" in last.history:
            histories.keep(trial.trial_id, of_keras(last.history))
        return results

    tuner.run_trial = run_trial
    return tuner


def search_arguments(
    learn: ArrayRows, stop: ArrayRows, balance: ClassBalance, seed: int, epochs: int
) -> tuple[tuple[Any, Any], dict[str, Any]]:
    """Return the arguments of the tuner's `search`, see the module."""
    learn = drawn(learn, balance, seed)
    weighted = balance.method != "none" or learn.is_weighted
    of_valid = (balance.validation_weights(stop.targets, stop.weights),) if weighted else ()
    of_train = {"sample_weight": balance.training_weights(learn.targets, learn.weights)} if weighted else {}
    return (dict(learn.features), learn.targets), {
        "validation_data": (dict(stop.features), stop.targets, *of_valid),
        "epochs": epochs,
        "verbose": 2,
        **of_train,
    }


def _chosen(cls: type, make_oracle: Callable[[], Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a class takes of what is offered.

    A child of keras_tuner.BayesianOptimization and the like makes its oracle itself, and takes the arguments of that.
    """
    names = _parameters(cls)
    chosen = {name: value for name, value in offered.items() if name in names}
    if "oracle" in names:
        for name in ("objective", "max_trials", "hyperparameters", "seed"):
            chosen.pop(name, None)
        chosen["oracle"] = make_oracle()
    return chosen


def _parameters(cls: type) -> set[str]:
    """Return the names that a class's `__init__` takes; what it passes on in **options, its parents take.

    A class that takes `objective` or `max_trials` makes its oracle itself, such as keras_tuner.BayesianOptimization.
    """
    names: set[str] = set()
    for parent in inspect.getmro(cls):
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(vars(parent)["__init__"]).parameters.values()
        own = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        names |= own - ({"oracle"} if names & {"objective", "max_trials"} else set())
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}
