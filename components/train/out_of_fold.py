"""Out-of-fold predictions: each row is answered by a member that did not learn from it.

A small table is too precious to keep rows apart for early stopping and for the combiner. So the rows of `train`,
`valid` and `blend` are divided into folds. For each fold, the member learns from the other rows, of which a part tells
when to stop, and answers the rows of the fold. Then it learns from all rows, for the median number of rounds.

- The rows that a fold answers are never used to stop.
- The rows of a group (`splits.by`) are in one fold.
- Rows with equal features are in one fold, unless they are events that look the same, as in a table of a few categories
  (`equal_rows`): an answer without them would be about other rows than those of `test`.
- Each fold has the same share of each class, or of small and large labels (R. Kohavi, A Study of Cross-Validation and
  Bootstrap for Accuracy Estimation and Model Selection, IJCAI 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import equal_rows, groups
from benison.components.train.fitting import Fitter
from benison.components.train.history import History
from benison.components.train.rows import ArrayRows
from benison.serving.errors import DataError

FILE = "out_of_fold.parquet"
FEW, SOME = 5_000, 50_000  # rows: below, 5 folds; below, 3 folds; otherwise none
_STOP_SHARE, _STOP_SHARE_OF_FEW, _FEW_TO_STOP = 8, 5, 1000  # one row in 8 tells when to stop, or in 5
_BATCH = 4096


@dataclass(frozen=True)
class OutOfFold:
    """Answers of a member to rows that it did not learn from.

    Attributes:
        labels: int64 class ids [rows], or float32 numbers [rows].
        answers: probabilities float32 [rows, classes] or predictions [rows, 1].
        weights: float32 [rows], sample weights; None if there are none.
        histories: the losses of each fold; no file has them.
    """

    labels: NDArray
    answers: NDArray
    weights: NDArray | None = None
    histories: Sequence[History | None] = ()

    def save(self, folder: Path) -> None:
        """Write the answers into a folder."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        answers = pa.FixedSizeListArray.from_arrays(pa.array(self.answers.ravel()), self.answers.shape[1])
        weights = {} if self.weights is None else {"weight": self.weights}
        pq.write_table(pa.table({"label": self.labels, **weights, "answer": answers}), folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> OutOfFold | None:
        """Read the answers from a folder; None if there are none."""
        import pyarrow.parquet as pq

        if not (folder / FILE).is_file():
            return None
        table = pq.read_table(folder / FILE)
        labels = table["label"].to_numpy()
        answers = table["answer"].combine_chunks().flatten().to_numpy().reshape(len(labels), -1)
        return cls(labels, answers, table["weight"].to_numpy() if "weight" in table.column_names else None)


def number_of_folds(rows: int) -> int:
    """Return how many folds so many rows are divided into."""
    return max(min(5, rows // 2), 2) if rows < FEW else 3


def assign(rows: ArrayRows, folds: int, seed: int) -> tuple[NDArray, NDArray]:
    """Divide rows into folds.

    Returns:
        The fold of each row [rows], and a mask [rows, folds]: the rows that tell when to stop, by fold.
    """
    share = _STOP_SHARE_OF_FEW if len(rows) < _FEW_TO_STOP else _STOP_SHARE
    if rows.groups is not None:
        fold = groups.folds(rows.groups, folds, seed)
        stops = groups.folds(rows.groups, share, seed + 1) == 0
        return fold, stops[:, None] & (fold[:, None] != np.arange(folds))
    units = _units(rows)
    random = np.random.default_rng(seed)
    first = np.full(units.max() + 1, len(units))
    np.minimum.at(first, units, np.arange(len(units)))  # the label of a unit is that of its first row
    shuffled = random.permutation(len(first))
    position = np.empty(len(first), np.int64)
    position[shuffled[np.argsort(rows.targets[first[shuffled]], kind="stable")]] = np.arange(len(first))
    fold, place = position % folds, position // folds
    # A random place, because places of equal labels follow each other.
    stops = random.permutation(place.max() + 1)[place] % share == 0
    return fold[units], (stops[:, None] & (fold[:, None] != np.arange(folds)))[units]


def fit(fitter: Fitter, rows: ArrayRows, folds: int, seed: int, name: str) -> tuple[OutOfFold, int]:
    """Train a member without each fold.

    Args:
        fitter: trains the member.
        rows: all rows.
        folds: number of folds.
        seed: seed of the folds.
        name: name of the member, for messages.

    Returns:
        The answers, and the median of the best numbers of rounds.

    Raises:
        DataError: there are too few rows, or an answer is not finite.
    """
    if len(rows) < 2 * folds:
        raise DataError(f"{len(rows)} labelled rows to learn from; {folds} folds need at least {2 * folds}: add rows")
    fold, stops = assign(rows, folds, seed)
    answers: NDArray | None = None
    rounds, histories = [], []
    for number in range(folds):
        out, stop = fold == number, stops[:, number]
        if not stop.any():  # so few rows that none came to this part
            stop = ~out & (np.cumsum(~out) == 1)
        if fitter.needs_stop:
            fitted = fitter.fit(rows.select(~out & ~stop), rows.select(stop))
        else:
            fitted = fitter.fit(rows.select(~out), 1)
        rounds.append(fitted.rounds)
        histories.append(fitted.history)
        of_fold = answer(fitted.predict, rows.select(out))
        answers = np.zeros((len(rows), of_fold.shape[1]), np.float32) if answers is None else answers
        answers[out] = of_fold
    assert answers is not None
    if bad := int((~np.isfinite(answers).all(axis=1)).sum()):
        raise DataError(
            f"{name}: its answer is NaN or infinite in {bad} of {len(rows)} rows that it did not learn from; limit the "
            "numbers in preprocessing_fn, or look for a division or a logarithm in the model"
        )
    chosen = int(np.ceil(np.median(rounds)))
    print(f"{folds} folds of {len(rows)} rows; best rounds {', '.join(map(str, rounds))}; all rows: {chosen}")
    return OutOfFold(rows.targets, answers, rows.weights, histories), max(chosen, 1)


def answer(predict: Any, rows: ArrayRows) -> NDArray:
    """Return a member's answers to rows, float32 [rows, n]."""
    import tensorflow as tf

    parts: Sequence[NDArray] = [
        np.asarray(
            predict({name: tf.constant(values[start : start + _BATCH]) for name, values in rows.features.items()})
        )
        for start in range(0, max(len(rows), 1), _BATCH)
    ]
    return np.concatenate(parts).astype(np.float32)


def _units(rows: ArrayRows) -> NDArray:
    """Return a number for each row [rows], the same for equal features if they show a copy."""
    random = np.random.default_rng(0)
    total = np.zeros(len(rows), np.uint64)
    for name in sorted(rows.features):
        values = rows.features[name].reshape(len(rows), -1)
        if values.dtype.kind not in "fiu":
            values = np.unique(values.astype(str), return_inverse=True)[1].reshape(len(rows), -1)
        words = np.ascontiguousarray(values).view(np.uint32)
        # A random linear hash of 64 bits: two different rows have the same one with negligible probability.
        factors = random.integers(0, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        for start in range(0, len(rows), _BATCH):  # the products of all rows would need much memory
            few = slice(start, start + _BATCH)
            total[few] += (words[few] * factors).sum(axis=1, dtype=np.uint64)
    units = np.unique(total, return_inverse=True)[1]
    own = units.max(initial=0) + 1 + np.arange(len(rows))
    return np.unique(np.where(equal_rows.events(units, rows.targets), own, units), return_inverse=True)[1]
