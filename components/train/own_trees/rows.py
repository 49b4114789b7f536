"""The rows that a user's function of trees receives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


class OwnRows:
    """The rows to learn from, `function(rows, hp)`.

    Attributes:
        features: pandas DataFrame; numbers are float32, NaN where missing, and categories are int64 ids.
        labels: int64 class ids from 0 on [rows], or float64 numbers [rows].
        categories: names of the columns of ids.
        valid: the rows that tell when to stop, of the same form; None if `rounds` says it.
        rounds: how many rounds to train; None if `valid` tells it.
        patience: rounds without a better loss on `valid` before training ends.
        problem: binary, multiclass or regression.
        classes: number of classes; 0 for regression.
        seed: the pipeline's seed.
    """

    def __init__(
        self,
        features: pd.DataFrame,
        labels: NDArray,
        weights: NDArray | None,
        categories: Sequence[str],
        *,
        problem: str,
        classes: int,
        seed: int,
        patience: int,
        valid: OwnRows | None = None,
        rounds: int | None = None,
    ) -> None:
        self.features = features
        self.labels = labels
        self.categories = list(categories)
        self.problem, self.classes, self.seed, self.patience = problem, classes, seed, patience
        self.valid, self.rounds = valid, rounds
        self._weights = weights
        self.are_weights_read = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def weights(self) -> NDArray | None:
        """The weight of each row, float32 [rows]; None if all are equal."""
        self.are_weights_read = True
        return self._weights

    def copied(self) -> OwnRows:
        """Return rows of their own arrays, for a function that may change them."""
        twin = copy(self)
        twin.features, twin.labels = self.features.copy(), self.labels.copy()
        twin.valid = self.valid.copied() if self.valid else None
        return twin

    def changed(self, other: OwnRows) -> str:
        """Return what differs from other rows: `features`, `labels`, with `valid.` for those; '' if nothing does."""
        if not self.features.equals(other.features):
            return "features"
        if not np.array_equal(self.labels, other.labels):
            return "labels"
        inner = self.valid.changed(other.valid) if self.valid and other.valid else ""
        return f"valid.{inner}" if inner else ""

    def with_copies(self, copied: NDArray, labels: NDArray, weight: float) -> OwnRows:
        """Return the rows with copies of some of them, which have other labels and a weight of their own."""
        import pandas as pd

        extended = copy(self)
        extended.features = pd.concat([self.features, self.features.iloc[copied]], ignore_index=True)
        extended.labels = np.concatenate([self.labels, labels])
        own = np.ones(len(self), np.float32) if self._weights is None else self._weights
        extended._weights = np.concatenate([own, np.full(len(labels), weight, np.float32)])
        return extended


def column_names(names: Sequence[str]) -> list[str]:
    """Return names that all libraries take: letters, digits and _, each once."""
    taken: dict[str, None] = {}
    for name in names:
        plain = re.sub(r"\W+", "_", name).strip("_") or "column"
        number, unique = 2, plain
        while unique in taken:
            unique, number = f"{plain}_{number}", number + 1
        taken[unique] = None
    return list(taken)


def frame(numbers: NDArray, ids: NDArray, names: Sequence[str]) -> pd.DataFrame:
    """Return a table of numbers float32 [rows, n] and ids int64 [rows, m]."""
    import pandas as pd

    table = pd.DataFrame(numbers, columns=list(names[: numbers.shape[1]]))
    return table.join(pd.DataFrame(ids, columns=list(names[numbers.shape[1] :])))


def as_columns(table: pd.DataFrame) -> NDArray:
    """Return a table as one array float32 [rows, columns]."""
    return table.to_numpy(np.float32)
