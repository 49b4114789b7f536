"""The kind `trees`: gradient-boosted symmetric trees, fitted by CatBoost."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train import tree_curves
from benison.components.train.fitting import Fitted, Size, Task, class_balance, drawn, target_scale
from benison.components.train.history import History
from benison.components.train.imbalance import ClassBalance
from benison.components.train.rows import ArrayRows, Rows
from benison.components.train.trees import in_graph, symmetric, target_statistics
from benison.components.train.trees.columns import Columns
from benison.components.train.trees.settings import MANY_CLASSES, PARAMETERS
from benison.components.train.trees.symmetric import SymmetricTrees
from benison.components.train.trees.target_statistics import TargetStatistics
from benison.serving.errors import UsageError

FILE = "trees.json"  # in the folder of logs: sizes and importances
ONE_HOT = 255  # a category of more values has target statistics instead
MAX_ID = 1_000_000
MANY_BORDERS, FEW_BORDERS = 254, 64  # of a number; with many classes a tree's time is that of its borders
# The values of all leaves are constants of the served graph. With hundreds of classes they would be gigabytes.
MAX_LEAF_VALUES = 1 << 23
_LOSSES = {"regression": "RMSE", "binary": "Logloss", "multiclass": "MultiClass"}
# Newton steps for the values of a tree's leaves. CatBoost's own choice for Logloss depends on the number of trees (10
# from 200 trees on, else 1), so the last training, which has fewer, would learn less by each tree than the folds.
_LEAF_STEPS = {"regression": 1, "binary": 10, "multiclass": 1}


@dataclass(frozen=True)
class _Table:
    """Rows as CatBoost takes them.

    Attributes:
        numbers: float32 [rows, n].
        categories: int64 [rows, m]; each has few values.
        labels: class ids, or numbers in units of their deviation.
        weights: float32 [rows].
    """

    numbers: NDArray
    categories: NDArray
    labels: NDArray
    weights: NDArray

    def pool(self) -> Any:
        """Return CatBoost's Pool."""
        import catboost
        import pandas

        width = self.numbers.shape[1]
        frame = pandas.DataFrame(self.numbers, copy=False)
        for number in range(self.categories.shape[1]):
            frame[width + number] = pandas.Categorical(self.categories[:, number])
        return catboost.Pool(frame, self.labels, cat_features=list(range(width, frame.shape[1])), weight=self.weights)


class TreesFitter:
    """Trains the trees of a member, with early stopping or up to a number of trees."""

    needs_stop = True

    def __init__(self, task: Task) -> None:
        self._task = task
        self._columns = Columns.of(task.spec, task.names)

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """See `fitting.Fitter`."""
        recipe, classes = self._task.recipe, self._task.classes
        balance = class_balance(recipe, learn, classes)
        unit = target_scale(recipe, learn) or (0.0, 1.0)
        rows = drawn(learn.arrays(), balance, recipe.seed)
        numbers, ids = self._columns.arrays(rows.features)
        if ids.size and ids.max() > MAX_ID:
            raise UsageError(f"member {recipe.name}: got the id {ids.max()}, expected ids of at most {MAX_ID}")
        labels = self._labels(rows, unit)
        few, many = _by_values(ids)
        targets = self._targets(labels, rows.row_weights)
        statistics, own = target_statistics.fit(ids, many, targets, rows.row_weights, recipe.seed)
        weights = balance.training_weights(rows.targets, rows.weights)
        table = self._with_every_class(_Table(np.concatenate([numbers, own], axis=1), ids[:, few], labels, weights))
        valid = None
        if not isinstance(stop, int):
            others = stop.arrays()
            numbers, ids = self._columns.arrays(others.features)
            valid = _Table(
                np.concatenate([numbers, statistics.arrays(ids)], axis=1),
                ids[:, few],
                self._labels(others, unit),
                balance.validation_weights(others.targets, others.weights),
            )
        trees, importances, history = self._fit(table, valid, stop if isinstance(stop, int) else None, balance)
        trees = trees.in_unit(unit[1], unit[0]) if recipe.problem == "regression" else trees
        named = self._named(importances, few, many, statistics)
        self._log(trees, named)
        return Fitted(
            self._predict(trees, statistics, few, balance),
            rounds=len(trees.picks),
            importances=named,
            size=Size(len(trees.picks), trees.picks.shape[1], symmetric=True),
            history=history,
            structure=self._structure(trees, few, many, statistics, balance),
        )

    def _structure(
        self, trees: SymmetricTrees, few: NDArray, many: NDArray, statistics: TargetStatistics, balance: ClassBalance
    ) -> dict[str, NDArray]:
        """Return the arrays of the trees, with the names of their columns, for `exports.pmml`.

        The correction of probabilities to the frequencies of the data is a part of the bias.
        """
        shares = np.log(balance.shares) if balance.method != "none" else np.zeros(max(self._task.classes, 1))
        own = shares[1:] - shares[:1] if self._task.recipe.problem == "binary" else shares
        numbers, categories = self._column_names(few, many, statistics)
        arrays = {field.name: getattr(trees, field.name) for field in dataclasses.fields(trees)}
        return {
            **arrays,
            "bias": trees.bias + (own if self._task.recipe.problem != "regression" else 0.0),
            "problem": np.array(self._task.recipe.problem),
            "numbers": np.array(self._columns.number_names, dtype=str),
            "other_numbers": np.array(numbers[len(self._columns.number_names) :], dtype=str),
            "category_names": np.array(categories, dtype=str),
        }

    def _fit(
        self, table: _Table, valid: _Table | None, rounds: int | None, balance: ClassBalance
    ) -> tuple[SymmetricTrees, NDArray, History | None]:
        """Return the trees, the importance of each column of `table`, and the losses by tree."""
        import catboost

        nothing = np.zeros(table.numbers.shape[1] + table.categories.shape[1])
        if not _can_learn(table):
            print("trees: the rows have only one label, or the same features; the answer is constant")
            return SymmetricTrees.constant(self._constant(table, balance)), nothing, None
        pool = table.pool()
        model = catboost.CatBoost(self._parameters(rounds))
        model.fit(pool, eval_set=valid.pool() if valid is not None else None)
        if valid is not None:
            losses = next(iter(model.get_evals_result()["validation"].values()))
            print(f"{model.tree_count_} trees; best loss on valid {min(losses):.4f}")
        history = tree_curves.history(model, int(model.tree_count_))
        return symmetric.from_catboost(model, pool), np.asarray(model.get_feature_importance()), history

    def _parameters(self, rounds: int | None) -> dict[str, Any]:
        recipe, values = self._task.recipe, self._task.hp.values
        depth = PARAMETERS.value(values, "depth")
        outputs = self._task.classes if recipe.problem == "multiclass" else 1
        most = max(1, MAX_LEAF_VALUES // (outputs * 2**depth))
        trees = PARAMETERS.value(values, "trees") if rounds is None else rounds
        if trees > most:
            print(f"trees: at most {most} instead of {trees}, because each has {2**depth} leaves of {outputs} classes")
        return {
            "loss_function": _LOSSES[recipe.problem],
            "iterations": max(1, min(trees, most)),  # a constant answer has no trees, and other rows may have some
            "depth": depth,
            "learning_rate": PARAMETERS.value(values, "learning_rate"),
            "l2_leaf_reg": PARAMETERS.value(values, "l2"),
            "leaf_estimation_iterations": _LEAF_STEPS[recipe.problem],
            # Of rare classes, a few trees would not reach the frequency from a probability of one half.
            "boost_from_average": recipe.problem != "multiclass",
            "random_seed": recipe.seed,
            "one_hot_max_size": ONE_HOT,
            "border_count": FEW_BORDERS if self._task.classes >= MANY_CLASSES else MANY_BORDERS,
            "thread_count": len(os.sched_getaffinity(0)),
            "allow_writing_files": False,
            "verbose": 100,
            **({"classes_count": self._task.classes} if recipe.problem == "multiclass" else {}),
            **({"early_stopping_rounds": recipe.patience, "use_best_model": True} if rounds is None else {}),
        }

    def _labels(self, rows: ArrayRows, unit: tuple[float, float]) -> NDArray:
        """Return class ids; for regression, numbers in units of the deviation, since CatBoost keeps them as float32."""
        if self._task.recipe.problem == "regression":
            return (rows.targets.astype(np.float64) - unit[0]) / unit[1]
        return rows.targets

    def _targets(self, labels: NDArray, weights: NDArray) -> NDArray:
        """Return what target statistics are the means of, [rows, targets]."""
        if self._task.recipe.problem == "regression":
            return labels[:, None]
        if self._task.recipe.problem == "binary":
            return labels[:, None].astype(np.float64)
        counts = np.bincount(labels, weights, minlength=self._task.classes)
        frequent = np.sort(np.argsort(-counts, kind="stable")[: target_statistics.MAX_TARGETS])
        return (labels[:, None] == frequent).astype(np.float64)

    def _with_every_class(self, table: _Table) -> _Table:
        """Add half a row of each class that has none: CatBoost gives only the classes of its rows a probability."""
        if self._task.recipe.problem != "multiclass" or len(np.unique(table.labels)) < 2:
            return table
        absent = np.setdiff1d(np.arange(self._task.classes), table.labels)
        if not len(absent):
            return table
        rows = np.random.default_rng(self._task.recipe.seed).integers(0, len(table.labels), len(absent))
        return _Table(
            np.concatenate([table.numbers, table.numbers[rows]]),
            np.concatenate([table.categories, table.categories[rows]]),
            np.concatenate([table.labels, absent]),
            np.concatenate([table.weights, np.full(len(absent), 0.5, np.float32)]),
        )

    def _constant(self, table: _Table, balance: ClassBalance) -> NDArray:
        """Return the answer of a model without trees, in the unit of CatBoost's answers."""
        if self._task.recipe.problem == "regression":
            return np.array([np.average(table.labels, weights=table.weights)])
        counts = np.bincount(table.labels, table.weights, minlength=self._task.classes) + 0.5
        if balance.method != "none":  # `correct` brings back the frequencies
            counts = np.ones(self._task.classes)
        logits = np.log(counts / counts.sum())
        return logits[1:] - logits[:1] if self._task.recipe.problem == "binary" else logits

    def _predict(
        self, trees: SymmetricTrees, statistics: TargetStatistics, few: NDArray, balance: ClassBalance
    ) -> Callable[[Mapping[str, Any]], Any]:
        import tensorflow as tf

        answers, of_ids = in_graph.function(trees), statistics.function()
        few_columns = tf.constant(few, tf.int32)

        def predict(features: Mapping[str, Any]) -> Any:
            numbers, ids = self._columns.tensors(features)
            values = answers(tf.concat([numbers, of_ids(ids)], axis=1), tf.gather(ids, few_columns, axis=1))
            if self._task.recipe.problem == "regression":
                return values
            if self._task.recipe.problem == "binary":
                return balance.correct(tf.concat([tf.sigmoid(-values), tf.sigmoid(values)], axis=1))
            return balance.correct(tf.nn.softmax(values))

        return predict

    def _named(
        self, importances: NDArray, few: NDArray, many: NDArray, statistics: TargetStatistics
    ) -> dict[str, float]:
        """Return the share of each column in all importances, the greatest first."""
        numbers, categories = self._column_names(few, many, statistics)
        names = [*numbers, *categories]
        total = importances.sum() or 1.0
        shares: dict[str, float] = {}
        for name, importance in zip(names, importances, strict=True):
            shares[name] = shares.get(name, 0.0) + float(importance / total)
        return dict(sorted(shares.items(), key=lambda share: (-share[1], share[0])))

    def _column_names(self, few: NDArray, many: NDArray, statistics: TargetStatistics) -> tuple[list[str], list[str]]:
        """Return the names of the columns of numbers, of which the last are target statistics, and of categories."""
        each = statistics.tables.shape[2]
        of_many = [self._columns.category_names[column] for column in many for _ in range(each)]
        return [*self._columns.number_names, *of_many], [self._columns.category_names[column] for column in few]

    def _log(self, trees: SymmetricTrees, importances: Mapping[str, float]) -> None:
        if self._task.logs is None:
            return
        facts = {"trees": len(trees.picks), "conditions": trees.conditions, "importances": importances}
        folder = Path(self._task.logs)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _by_values(ids: NDArray) -> tuple[NDArray, NDArray]:
    """Return the columns of ids that have few values, and those that have many."""
    many = np.array([len(np.unique(column)) > ONE_HOT for column in ids.T], bool)
    return np.flatnonzero(~many), np.flatnonzero(many)


def _can_learn(table: _Table) -> bool:
    """Return False if there is only one label, or if no column has two values: CatBoost refuses both."""
    if len(table.labels) == 0 or (table.labels == table.labels[0]).all():
        return False
    for column in (*table.numbers.T, *table.categories.T):
        first = column[0]
        if not ((column == first) | ((column != column) & (first != first))).all():
            return True
    return False
