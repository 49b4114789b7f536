"""The parts that the readers of all libraries share: a model's columns, and its answers beside the library's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.own_trees import walk
from benison.components.train.own_trees.forest import Forest
from benison.components.train.own_trees.rows import OwnRows
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReadModel:
    """A fitted model of a library, read.

    Attributes:
        answers: function in TensorFlow operations, from columns float32 [rows, columns], numbers and then ids, to
            probabilities or predictions float32 [rows, outputs].
        predict: the library's own answers to a table with the columns of `OwnRows.features`.
        rounds: rounds of the model, such as iterations of boosting.
        trees: number of trees.
        depth: number of conditions on the longest way to a leaf.
        symmetric: the trees are symmetric, which is many times as fast.
        importances: importance of each column of the table.
        chosen: parameters that the library chose by the number of rounds, because the function does not set them.
    """

    answers: Callable[[Any], Any]
    predict: Callable[[pd.DataFrame], NDArray]
    rounds: int
    trees: int
    depth: int
    symmetric: bool
    importances: NDArray
    chosen: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def walked(
        cls, trees: Forest, predict: Callable[[pd.DataFrame], NDArray], rounds: int, importances: NDArray
    ) -> ReadModel:
        """Return a model whose trees are walked."""
        return cls(
            answers=walk.function(trees),
            predict=predict,
            rounds=rounds,
            trees=trees.trees,
            depth=walk.depth_of(trees),
            symmetric=False,
            importances=importances,
        )


@dataclass(frozen=True)
class ModelColumns:
    """The columns of a model.

    Attributes:
        places: int [model's columns], the place of each in the table.
        rows: the table.
    """

    places: NDArray
    rows: OwnRows

    @classmethod
    def of(cls, names: Sequence[Any] | None, count: int, rows: OwnRows) -> ModelColumns:
        """Find a model's columns by their names, or, if they have none, by their order.

        Raises:
            UsageError: the model was fitted on other columns than those of the table.
        """
        known = [str(name) for name in rows.features.columns]
        written = [] if names is None else [str(name) for name in names]
        if written and set(written) <= set(known):
            return cls(np.array([known.index(name) for name in written], np.int64), rows)
        unnamed = not written or written == [f"Column_{place}" for place in range(count)]
        unnamed |= written == [str(place) for place in range(count)]
        if unnamed and count == len(known):
            return cls(np.arange(count), rows)
        if unnamed:
            raise UsageError(
                f"the model was fitted on {count} columns without names, and rows.features has {len(known)}; fit it on "
                "rows.features, or on a choice of its columns as a DataFrame"
            )
        strange = next(name for name in written if name not in known)
        raise UsageError(
            f"the model was fitted on a column {strange!r}, which rows.features does not have"
            f"{did_you_mean(strange, known)}; a served model sees only the columns of rows.features: make others in "
            "preprocessing_fn"
        )

    def category(self, column: int, library: str) -> None:
        """Refuse a condition on sets of values of a column that has no ids."""
        name = str(self.rows.features.columns[self.places[column]])
        if name not in self.rows.categories:
            raise UsageError(
                f"the {library} model takes the column {name!r} for a category, but it is a number; expected only the "
                f"columns of rows.categories ({', '.join(self.rows.categories) or 'there are none'})"
            )

    def spread(self, importances: Sequence[float] | NDArray) -> NDArray:
        """Return an array [model's columns] as one of the table's columns."""
        every = np.zeros(len(self.rows.features.columns))
        np.add.at(every, self.places, np.asarray(importances, np.float64))
        return every


def is_from(model: Any, library: str) -> bool:
    """Return True if the class of a model, or one that it inherits from, is from a package."""
    return any(base.__module__.partition(".")[0] == library for base in type(model).__mro__)


def own_answers(model: Any, table: Any) -> NDArray:
    """Return an estimator's own probabilities or predictions, float64 [rows, outputs]."""
    answers = model.predict_proba(table) if hasattr(model, "predict_proba") else model.predict(table)
    return np.asarray(answers, np.float64).reshape(len(table), -1)


def refuse_classes(model: Any, classes: int) -> None:
    """Refuse a classifier whose classes are not the labels.

    Raises:
        UsageError: it has other classes.
    """
    own = getattr(model, "classes_", None)
    if own is None or not np.size(own):
        return
    if not np.array_equal(np.asarray(own), np.arange(classes)):
        raise UsageError(
            f"the classes of the {type(model).__name__} are {np.asarray(own)[:10].tolist()}, expected "
            f"{list(range(classes))}: fit it on rows.labels as they are"
        )
