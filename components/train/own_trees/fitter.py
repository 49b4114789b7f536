"""Trains a member of kind `trees` by the user's function, and reads the model that it returns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.components import user_code
from benison.components.sample_weights import normalized
from benison.components.train import answers, recorded, tree_curves
from benison.components.train.fitting import Fitted, Size, Task, class_balance, drawn
from benison.components.train.imbalance import ClassBalance
from benison.components.train.own_trees import library
from benison.components.train.own_trees.reading import ReadModel
from benison.components.train.own_trees.rows import OwnRows, as_columns, column_names, frame
from benison.components.train.rows import ArrayRows, Rows
from benison.components.train.trees.columns import Columns
from benison.components.train.trees.fitter import MAX_ID
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

_CHECKED_ROWS = 1000
_STRANGE = (np.nan, np.inf, -np.inf, 0.0, 1e-40)  # numbers that libraries treat in their own ways
_SAME = 1.25  # factor: what a library chooses also depends on the number of rows, which folds have fewer of
_OF_SPREAD, _OF_LARGEST = 1e-5, 3e-6  # tolerance: XGBoost sums its trees as float32, and all served answers are float32


class OwnTreesFitter:
    """Trains the trees of a member by its function `function(rows, hp)`, see `rows.OwnRows`."""

    needs_stop = True

    def __init__(self, task: Task) -> None:
        self._task = task
        self._columns = Columns.of(task.spec, task.names)
        self._written = [*self._columns.number_names, *self._columns.category_names]
        self._names = column_names(self._written)
        self._chosen: Mapping[str, float] = {}

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """See `fitting.Fitter`."""
        recipe = self._task.recipe
        balance = class_balance(recipe, learn, self._task.classes)
        learnt = drawn(learn.arrays(), balance, recipe.seed)
        is_weighted = balance.method == "class_weight" or learnt.is_weighted
        weights = balance.training_weights(learnt.targets, learnt.weights) if is_weighted else None
        valid = None
        if not isinstance(stop, int):
            others = stop.arrays()
            is_weighted = balance.method != "none" or others.is_weighted
            of_valid = balance.validation_weights(others.targets, others.weights) if is_weighted else None
            valid = self._rows(others, of_valid, None, None)
        rows = self._rows(learnt, weights, valid, stop if isinstance(stop, int) else None)
        if not _can_learn(rows):
            print("trees: the rows have only one label, or the same features; the answer is constant")
            return Fitted(self._constant(learnt, balance), rounds=stop if isinstance(stop, int) else 1)
        with answers.at(recipe.function):
            model = self._call(self._with_every_class(rows), is_weighted=weights is not None)
            read = library.read(model, rows)
            self._compare(read, rows, type(model).__name__)
            if valid is not None:
                self._chosen = read.chosen
            else:
                self._refuse_other_choices(read.chosen)
        return Fitted(
            self._predict(read, balance),
            rounds=read.rounds,
            importances=self._named(read.importances),
            size=Size(read.trees, read.depth, read.symmetric),
            history=tree_curves.history(model, read.rounds),
        )

    def _call(self, rows: OwnRows, *, is_weighted: bool) -> Any:
        """Call the user's function."""
        recipe = self._task.recipe
        read: set[str] = set()
        given = rows.copied()
        model = user_code.load(recipe.function)(given, recorded.recorded(self._task.hp, read))
        if changed := given.changed(rows):
            raise UsageError(
                f"changes rows.{changed}, but the served model gets the columns as they were and gives its answers as "
                "they are; make other features in preprocessing_fn, and another scale of the label by `target`"
            )
        if is_weighted and not given.are_weights_read:
            raise UsageError(
                "never reads rows.weights, so the rows have the wrong weights; give them to fit as sample_weight, or "
                "leave out what makes them (imbalance: class_weight, or weight)"
            )
        for fault in recorded.unread_faults(self._task.hp.values, read, recipe.function):
            raise UsageError(fault)
        return model

    def _rows(self, rows: ArrayRows, weights: NDArray | None, valid: OwnRows | None, rounds: int | None) -> OwnRows:
        recipe = self._task.recipe
        numbers, ids = self._columns.arrays(rows.features)
        if ids.size and (largest := int(np.abs(ids).max())) > MAX_ID:
            raise UsageError(f"member {recipe.name}: got an id of {largest}, expected ids from -{MAX_ID} to {MAX_ID}")
        labels = rows.targets.astype(np.float64) if recipe.problem == "regression" else rows.targets
        return OwnRows(
            frame(numbers, ids, self._names),
            labels,
            weights,
            self._names[numbers.shape[1] :],
            problem=recipe.problem,
            classes=self._task.classes,
            seed=recipe.seed,
            patience=recipe.patience,
            valid=valid,
            rounds=rounds,
        )

    def _with_every_class(self, rows: OwnRows) -> OwnRows:
        """Add half a row of each class that has none: XGBoost refuses labels with a gap, and others skip the class."""
        absent = np.setdiff1d(np.arange(rows.classes), rows.labels) if rows.problem == "multiclass" else np.zeros(0)
        if not len(absent):
            return rows
        return rows.with_copies(np.random.default_rng(rows.seed).integers(0, len(rows), len(absent)), absent, 0.5)

    def _refuse_other_choices(self, chosen: Mapping[str, float]) -> None:
        """Refuse parameters that differ from those with which the number of rounds was found.

        Raises:
            UsageError: the library chose a parameter by the number of rounds.
        """
        for name, value in chosen.items():
            before = self._chosen.get(name, value)
            if max(before, value) > _SAME * min(before, value):
                raise UsageError(
                    f"sets no {name}; the library chose {before:.3g} while the number of rounds was looked for, and "
                    f"{value:.3g} for the last training with that number, which makes another model; set {name}"
                )

    def _compare(self, read: ReadModel, rows: OwnRows, name: str) -> None:
        """Compare the trees as they are served with the library's own answers.

        Raises:
            UsageError: they differ.
        """
        import tensorflow as tf

        few = rows.features.iloc[:: max(1, len(rows) // _CHECKED_ROWS)]
        pairs = [(few, read.predict(few))]
        for number in _STRANGE:
            table = _strange(few, rows, number)
            with contextlib.suppress(
                Exception
            ):  # scikit-learn's GradientBoosting, for example, refuses missing numbers
                pairs.append((table, read.predict(table)))
        for table, expected in pairs:
            got = np.asarray(read.answers(tf.constant(as_columns(table))), np.float64)
            if expected.shape[1] == 1 and got.shape[1] == 2:
                got = got[:, 1:]
            elif expected.shape[1] == 2 and got.shape[1] == 1:
                expected = expected[:, 1:]
            if got.shape != expected.shape:
                raise UsageError(
                    f"the {name} answers {expected.shape[1]} numbers per row, and its trees {got.shape[1]}; expected a "
                    "probability per class, or one prediction"
                )
            difference = np.abs(got - expected).max(initial=0)
            tolerance = _OF_SPREAD * np.ptp(expected) + _OF_LARGEST * np.abs(expected).max(initial=0)
            if not difference <= tolerance:
                raise UsageError(
                    f"the {name} cannot be served: its trees answer differently from its own predict, by up to "
                    f"{difference:.3g}; leave out settings that are not trees, such as a custom objective"
                )

    def _predict(self, read: ReadModel, balance: ClassBalance) -> Callable[[Mapping[str, Any]], Any]:
        problem = self._task.recipe.problem

        def predict(features: Mapping[str, Any]) -> Any:
            import tensorflow as tf

            numbers, ids = self._columns.tensors(features)
            values = read.answers(tf.concat([numbers, tf.cast(ids, tf.float32)], axis=1))
            return balance.correct(answers.as_promised(values, problem)) if problem != "regression" else values

        return predict

    def _constant(self, rows: ArrayRows, balance: ClassBalance) -> Callable[[Mapping[str, Any]], Any]:
        """Return the function of the same answer for each row."""
        if self._task.recipe.problem == "regression":
            answer = np.array([np.average(rows.targets.astype(np.float64), weights=rows.row_weights)])
        else:
            weights = normalized(rows.row_weights)
            counts = np.bincount(rows.targets, weights, minlength=self._task.classes) + 0.5
            if balance.method == "undersample":  # the rows that were drawn have other frequencies
                counts = balance.sampling_rates**-1.0 * counts
            answer = counts / counts.sum()

        def predict(features: Mapping[str, Any]) -> Any:
            import tensorflow as tf

            count = tf.shape(next(iter(features.values())))[0]
            return tf.tile(tf.constant(answer[None], tf.float32), [count, 1])

        return predict

    def _named(self, importances: NDArray) -> dict[str, float]:
        """Return the share of each column in all importances, the greatest first."""
        total = importances.sum() or 1.0
        shares = {name: float(share) for name, share in zip(self._written, importances / total, strict=True)}
        return dict(sorted(shares.items(), key=lambda share: (-share[1], share[0])))


def _strange(few: pd.DataFrame, rows: OwnRows, number: float) -> pd.DataFrame:
    """Return rows of which each has this number in one column, or an id that training did not have."""
    strange = few.copy()
    for place, column in enumerate(strange.columns):
        which = np.arange(len(strange)) % len(strange.columns) == place
        unseen = rows.features[column].max() + 1
        strange.loc[which, column] = unseen if column in rows.categories else np.float32(number)
    return strange


def _can_learn(rows: OwnRows) -> bool:
    """Return False if there is only one label, or if no column has two values: not every library takes such rows."""
    if len(rows) == 0 or (rows.labels == rows.labels[0]).all():
        return False
    return any(rows.features[name].nunique(dropna=False) > 1 for name in rows.features)
