"""A search for the hyperparameters of one member: its oracle, its tuner and its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benison.components import feature_groups
from benison.components.train import answers, kinds, member
from benison.components.train.fitting import Fitter, Task, class_balance, target_scale
from benison.components.train.rows import FileRows
from benison.components.train.search_space import hyperparameters
from benison.components.tuning import finished_trials, goal, oracles, own_tuner
from benison.components.tuning.finished_trials import Histories
from benison.components.tuning.goal import Goal
from benison.components.tuning.keras_trials import Learning, hypermodel, keras_tuner_of
from benison.components.tuning.table_trials import table_tuner


@dataclass(frozen=True)
class Search:
    """A search; the same one in each of its processes.

    Attributes:
        train_files: glob patterns of the rows to learn from.
        eval_files: glob patterns of the rows to stop and judge by.
        transform_graph: the artifact of Transform.
        config: `recipe`, fields of `member.Recipe`, whose `tuner` is {algorithm, trials, epochs, space, workers,
            profile, class, arguments}; and `goal`, see `goal.parse`.
        folder: folder of the search, which is kept until its end.
    """

    train_files: Sequence[str]
    eval_files: Sequence[str]
    transform_graph: str
    config: Mapping[str, Any]
    folder: str

    @classmethod
    def of(cls, fn_args: Any) -> Search:
        """Return the search of TFX's FnArgs; `working_dir` is its folder."""
        files = list(fn_args.train_files), list(fn_args.eval_files)
        return cls(*files, fn_args.transform_graph_path, dict(fn_args.custom_config), fn_args.working_dir)

    @cached_property
    def recipe(self) -> member.Recipe:
        """The settings of the member."""
        return member.Recipe(**self.config["recipe"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The block `tuner` of the member."""
        return self.recipe.tuner or {}

    @property
    def workers(self) -> int:
        """Number of worker processes."""
        return int(self.settings.get("workers", 1))

    @cached_property
    def transform(self) -> Any:
        """TFT's output."""
        import tensorflow_transform as tft

        return tft.TFTransformOutput(self.transform_graph)

    @cached_property
    def class_names(self) -> list[str]:
        """The names of the classes by id; empty for regression."""
        return member.class_names(self.transform)

    @cached_property
    def goal(self) -> Goal:
        """The number that the trials are judged by."""
        return goal.parse(self.config.get("goal"), self.recipe.problem, self.class_names)

    def oracle(self) -> Any:
        """Return the oracle, which also knows the finished trials; it starts no operation of TensorFlow if it can."""
        if "class" in self.settings:
            oracle = self.tuner().oracle
        else:
            oracle = self._new_oracle()
            oracle._set_project_dir(self.folder, "keras_tuner")
        finished_trials.keep(oracle, Path(self.folder))
        return oracle

    def tuner(self) -> Tuner:
        """Return the tuner with the arguments of its search; it reads the rows."""
        if "class" in self.settings:
            return self._own_tuner()
        return self._keras_tuner() if self.recipe.kind == "keras" else self._table_tuner()

    def _new_oracle(self) -> Any:
        return oracles.oracle(self.settings, self.goal, hyperparameters(self.recipe), self.recipe.seed)

    def _learning(self) -> Learning:
        recipe, rows = self.recipe, FileRows(self.train_files, self.transform)
        spec, classes = member.feature_spec(self.transform), len(self.class_names)
        scale = target_scale(recipe, rows)
        target = None if scale is None else member.TargetScale(*scale)
        model = member.build_model(recipe, hyperparameters(recipe), spec, classes, target)
        if (features := rows.first()) is not None:  # once: a trial has the same outputs
            answers.check_model(model, features, answers.Promise(recipe.problem, classes), recipe.function)
        return Learning(
            recipe,
            spec,
            classes,
            target,
            class_balance(recipe, rows, classes),
            train=member.labelled_rows(self.train_files, self.transform, cached=True),
            valid=member.labelled_rows(self.eval_files, self.transform, cached=True),
            goal=self.goal,
            epochs=self.settings["epochs"],
            profile=self.settings.get("profile"),
        )

    def _keras_tuner(self) -> Tuner:
        options = (self._new_oracle(), Path(self.folder), Histories(Path(self.folder)))
        return Tuner(keras_tuner_of(self._learning(), *options))

    def _table_tuner(self) -> Tuner:
        recipe, group = self.recipe, kinds.GROUPS[self.recipe.kind]
        spec, classes = member.feature_spec(self.transform, group), len(self.class_names)
        names = feature_groups.read_names(group, self.transform_graph)

        def fitter_of(values: Any) -> Fitter:
            return kinds.fitter(Task(recipe, values, spec, classes, None, names))

        folder = Path(self.folder)
        tuner = table_tuner(fitter_of, recipe.problem, self.goal, self._new_oracle(), folder, Histories(folder))
        learn, stop = (FileRows(files, self.transform, group).arrays() for files in (self.train_files, self.eval_files))
        return Tuner(tuner, options={"learn": learn, "stop": stop})

    def _own_tuner(self) -> Tuner:
        import keras_tuner

        settings, recipe, folder = self.settings, self.recipe, Path(self.folder)
        learning = self._learning()
        offered = {
            "hypermodel": hypermodel(learning),
            "objective": keras_tuner.Objective(self.goal.name, self.goal.direction),
            "max_trials": settings["trials"],
            "hyperparameters": hyperparameters(recipe),
            "seed": recipe.seed,
        }
        arguments = settings.get("arguments", {})
        tuner = own_tuner.own_tuner(settings["class"], arguments, self._new_oracle, offered, folder, Histories(folder))
        learn, stop = (FileRows(files, self.transform).arrays() for files in (self.train_files, self.eval_files))
        return Tuner(
            tuner,
            *own_tuner.search_arguments(learn, stop, learning.balance, recipe.seed, settings["epochs"]),
        )


class Tuner:
    """A KerasTuner with the arguments of its search.

    Args:
        tuner: KerasTuner's tuner.
        arguments: positional arguments of `search`.
        options: other arguments of `search`.
    """

    def __init__(self, tuner: Any, arguments: Sequence[Any] = (), options: Mapping[str, Any] | None = None) -> None:
        self._tuner, self._arguments, self._options = tuner, arguments, options or {}
        # Two processes of a search have one folder, and `finished_trials` has what there is to save.
        tuner.save = lambda *_: None

    @property
    def oracle(self) -> Any:
        """KerasTuner's oracle, or the client of the chief's."""
        return self._tuner.oracle

    @property
    def space(self) -> Any:
        """The HyperParameters that this process knows."""
        return getattr(self.oracle, "_oracle", self.oracle).get_space()

    def run(self) -> None:
        """Run trials until the oracle has no more."""
        self._tuner.search(*self._arguments, **self._options)


def tuner_fn(fn_args: Any) -> Search:
    """Return the search of one member; the function that `benison.components.tuning.node` names for TFX."""
    return Search.of(fn_args)
