"""The texts whose hash decides the split of a row.

The label must not decide. Otherwise, of rows with equal features, those with one label may all be in `train` and those
with the other all in `test`: each model would be judged by the opposite of what it could learn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from benison.components import equal_rows
from benison.serving.rows.chunks import Row

_COPY = -1  # in place of the number of equal rows before a row


class SplitRow(NamedTuple):
    """A row, divided for its split.

    Attributes:
        features: the texts of all columns but the label and the weight, in the order of the columns' names.
        label: the text of the label; None if it is missing.
        weight: the text of the weight.
    """

    features: tuple[str, ...]
    label: str | None = None
    weight: str = ""


class Roles:
    """The columns of a table by what they are for a split.

    Args:
        header: names of the columns.
        missing: cells that mean "no value".
        label: name of the label; '' for none.
        weight: name of the column of sample weights; '' for none.
    """

    def __init__(self, header: Sequence[str], missing: Collection[str], label: str, weight: str = "") -> None:
        self._missing = missing
        self._label, self._weight = (header.index(name) if name in header else None for name in (label, weight))
        self._features = [header.index(name) for name in sorted(header) if name not in (label, weight)]

    def row(self, row: Row) -> SplitRow:
        """Return the cells of a row by their roles."""
        label = None if self._label is None else row.cells[self._label]
        return SplitRow(
            tuple([row.cells[i] for i in self._features]),
            None if label in self._missing else label,
            "" if self._weight is None else row.cells[self._weight],
        )


class SplitKeys:
    """The keys of the rows of one source: copies have the same key, and events that look the same have not.

    See `equal_rows`. The keys of events depend on which rows there are, not on their order.

    Args:
        rows: all rows.
        seed: another seed gives other splits (`splits.seed`).
    """

    def __init__(self, rows: Iterable[SplitRow], seed: int = 0) -> None:
        self._salt = [f"seed {seed}"] if seed else []
        # Python's hash is the same within a process, which is all that counting needs.
        hashes = np.fromiter(
            ((hash(row.features), hash(row.label), row.label is not None, hash(row)) for row in rows),
            np.dtype([("features", np.int64), ("label", np.int64), ("labelled", bool), ("row", np.int64)]),
        )
        self._before = np.full(len(hashes), _COPY)
        if (hashes["features"] != hashes["features"][:1]).any():  # else `check_counts` refuses: nothing to learn from
            events = equal_rows.events(hashes["features"], hashes["label"], hashes["labelled"])
            self._before[events] = equal_rows.occurrences(hashes["row"][events])

    def of(self, number: int, row: SplitRow, group: str | None = None) -> Sequence[str]:
        """Return the key of a row.

        Args:
            number: its position among all rows, from 0.
            row: the row.
            group: its value in the column of `splits.by`, which decides alone; None if it is a group of its own.
        """
        if group is not None:
            return [*self._salt, group]
        before = self._before[number]
        if before == _COPY:
            return [*self._salt, *row.features]
        return [*self._salt, *row.features, row.label or "", row.weight, *([str(before)] if before else [])]
