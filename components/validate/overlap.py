"""Measures how many rows of `test` are also in `train`, and how many of them are there by chance.

The expected share by chance is that of the rows of `train` that have a twin in `train`: I. J. Good, The Population
Frequencies of Species and the Estimation of Population Parameters, Biometrika 40, 1953. It is the limit of comparing a
random part of `train` with the rest, for small parts, so both shares refer to the same number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benison.components.validate.row_hashes import RowHashes

_SIGMAS = 4.0  # an excess within the sampling error is chance
_TELLING = 0.5  # if more rows of `train` than this have a twin, equal rows do not show a copy


@dataclass(frozen=True)
class Overlap:
    """The rows of `test` that are also in `train`, or in one span of it.

    Attributes:
        without: the columns that were left out.
        span: the span of `train` that was compared; None for all of `train`.
        rows: number of rows of `test`.
        common: how many of them are in `train`.
        chance: the share that is expected by chance.
        error: standard error of the difference.
        example: index of a common row in `test`; None if there is none.
    """

    without: tuple[str, ...]
    span: int | None
    rows: int
    common: int
    chance: float
    error: float
    example: int | None

    @property
    def excess(self) -> float:
        """The share of the rows that chance does not explain."""
        return self.common / self.rows - self.chance if self.rows else 0.0

    def exceeds(self, limit: float) -> bool:
        """Return True if the excess is above the limit, and certain."""
        return self.chance <= _TELLING and self.excess > limit and self.excess > _SIGMAS * self.error


def measure(
    train: Mapping[int | None, RowHashes], test: RowHashes, time: str | None, ignored: Sequence[str]
) -> list[Overlap]:
    """Measure the overlap of all columns, and again without the columns that differ between copies of a row.

    Those are the time, the ignored columns, and the columns that name the row: whole numbers or texts of which almost
    every row has its own. A text that differs in every row may be an id or the content, so each of them is also left
    out alone.

    Args:
        train: the rows of each span of `train`; the key is None for data without spans.
        test: the rows of `test`.
        time: the time column.
        ignored: columns that are not features.
    """
    names = set.intersection(*(set(rows.columns) for rows in (*train.values(), test)))
    unique = set.intersection(*(rows.unique_columns() for rows in train.values())) & names
    copied = {name for name in (time, *ignored) if name is not None}
    ids = sorted(unique - copied)
    overlaps = [_compare(train, test, ())]
    overlaps += [_compare({span: rows}, test, (), span) for span, rows in train.items() if len(train) > 1]
    reduced = [copied, copied | set(ids), *(copied | {name} for name in ids)]
    for columns in dict.fromkeys(tuple(sorted(columns)) for columns in reduced if columns):
        overlaps.append(_compare(train, test, columns))
    return overlaps


def _compare(
    train: Mapping[int | None, RowHashes], test: RowHashes, without: tuple[str, ...], span: int | None = None
) -> Overlap:
    pools = [rows.without(without) for _, rows in sorted(train.items(), key=lambda item: item[0] or 0)]
    known, counts = np.unique(np.concatenate(pools), return_counts=True)
    searched = test.without(without)
    common = np.isin(searched, known)
    rows, ones, twos = int(counts.sum()), int((counts == 1).sum()), int((counts == 2).sum())
    chance = 1 - ones / rows if rows else 0.0
    if without and len(pools) > 1:  # what recurs from span to span, such as a schedule, is not a copy
        chance = max(chance, float(np.mean(np.isin(pools[-1], np.concatenate(pools[:-1])))))
    # One or two rows more may have had a twin; see also D. McAllester and R. Schapire, On the Convergence Rate of
    # Good-Turing Estimators, COLT 2000.
    possible = max(chance, (chance * rows + 2) / (rows + 4))
    variance = possible * (1 - possible) / max(len(searched), 1)
    variance += (ones * (1 - ones / max(rows, 1)) + 2 * twos) / max(rows, 1) ** 2
    example = int(np.argmax(common)) if common.any() else None
    return Overlap(without, span, len(searched), int(common.sum()), chance, math.sqrt(variance), example)
