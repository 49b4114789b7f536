"""The interface of all kinds of members, see `benison.components.train.kinds`.

A kind learns from transformed rows and returns a function of transformed features in TensorFlow operations. Trainer,
exporter, combiner and servers know nothing else about a member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benison.components.train.history import History
from benison.components.train.imbalance import ClassBalance
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows, Rows


@dataclass(frozen=True)
class Task:
    """The settings of one member, apart from its rows.

    Attributes:
        recipe: settings of the member.
        hp: KerasTuner's hyperparameters.
        spec: the transformed features, see `member.feature_spec`.
        classes: number of classes; 0 for regression.
        logs: folder for the logs of a training; None if nothing is logged.
        names: names of the columns of a feature [batch, n], if they are known.
    """

    recipe: Recipe
    hp: Any
    spec: Mapping[str, Any]
    classes: int
    logs: str | None = None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """The size of a member of trees.

    Attributes:
        trees: number of trees.
        depth: number of conditions on the longest way to a leaf.
        symmetric: all nodes on a level have the same condition, which is many times as fast as a walk.
    """

    trees: int
    depth: int
    symmetric: bool


@dataclass(frozen=True)
class Fitted:
    """A member that has learnt; it is valid until its Fitter learns again.

    Attributes:
        predict: function from features, Tensors [batch, n] by name, to the answer in TensorFlow operations:
            probabilities float32 [batch, classes], corrected for class weights and the like, or predictions float32
            [batch, 1].
        rounds: rounds of the best model, such as epochs or trees: a later training may be limited to this number.
        tracked: the objects with the variables and tables that `predict` uses.
        importances: importance of each feature by name; empty if the kind does not know it.
        size: the size of trees; None for other kinds.
        history: the losses of the training; None if there are none.
        structure: the arrays that `predict` consists of, for exports such as PMML; None if the kind has none.
    """

    predict: Callable[[Mapping[str, Any]], Any]
    rounds: int
    tracked: Sequence[Any] = ()
    importances: Mapping[str, float] = field(default_factory=dict)
    size: Size | None = None
    history: History | None = None
    structure: Mapping[str, Any] | None = None


class Fitter(Protocol):
    """Trains one member, once or several times on different rows; the same rows give the same member.

    Attributes:
        needs_stop: other rows tell when to stop; without it, these rows are learnt too.
    """

    needs_stop: bool

    def fit(self, learn: Rows, stop: Rows | int) -> Fitted:
        """Train the member from the beginning.

        Class weights, the scale of the target and statistics of the labels come from `learn` only.

        Args:
            learn: the rows to learn from.
            stop: the rows that tell when to stop; or the number of rounds, without any other rows.

        Raises:
            UsageError: the user's code fails, or the member does not answer as promised.
        """


def class_balance(recipe: Recipe, rows: Rows, classes: int) -> ClassBalance:
    """Return the method for rare classes, with the class counts of `rows` and their mean sample weight."""
    import numpy as np

    if recipe.imbalance == "none" and not rows.is_weighted:
        return ClassBalance("none")
    counts, total, number = np.zeros(classes), 0.0, 0
    for labels, weights in rows.labels():
        if classes:
            counts += np.bincount(labels, weights, minlength=classes)
        total, number = total + float(weights.sum()), number + len(labels)
    unit = total / number
    return ClassBalance(recipe.imbalance, tuple((counts / unit).tolist()), unit if rows.is_weighted else None)


def drawn(rows: ArrayRows, balance: ClassBalance, seed: int) -> ArrayRows:
    """Return the rows that `undersample` draws, or all; the same seed gives the same draw."""
    import numpy as np

    chosen = balance.draw(rows.targets, np.arange(len(rows)), np.random.default_rng(seed))
    return rows if len(chosen) == len(rows) else rows.select(chosen)


def target_scale(recipe: Recipe, rows: Rows) -> tuple[float, float] | None:
    """Compute mean and standard deviation of a regression's label in `rows`; the deviation of equal labels is 1.

    Rows count by their sample weights.
    """
    import numpy as np

    if recipe.problem != "regression":
        return None
    count, total, squares = 0.0, 0.0, 0.0
    for labels, weights in rows.labels():
        count, total = count + float(weights.sum()), total + float((labels * weights).sum())
    mean = total / count
    for labels, weights in rows.labels():  # second pass: subtracting the mean first is exact
        squares += float(((labels.astype(np.float64) - mean) ** 2 * weights).sum())
    return mean, float(np.sqrt(squares / count)) or 1.0
