"""Shapley values of the columns of a row, by sampling permutations.

The answer to a row differs from the mean answer to the background rows. Its Shapley values divide this difference among
the columns (E. Štrumbelj and I. Kononenko, Explaining Prediction Models and Individual Predictions with Feature
Contributions, Knowledge and Information Systems 41, 2014; S. M. Lundberg and S.-I. Lee, A Unified Approach to
Interpreting Model Predictions, NIPS 2017). A walk begins at a background row and puts in one column of the row after
the other, in the order of a permutation; each column gets the change of the answer at its step. The share of a column
is the mean of its changes over all walks.

- Every background row begins the same number of walks. The changes of a walk add up to its end minus its beginning, so
  the shares add up to the answer minus the mean answer, exactly, however few walks there are.
- Permutations come in pairs, one in the reverse order of the other. A column's mean over a pair has less variance,
  because it comes early in one and late in the other (R. Mitchell et al., Sampling Permutations for Shapley Value
  Estimation, Journal of Machine Learning Research 23, 2022).
- For a linear model every walk gives the exact values, so that their mean is exact, too.

Columns that depend on each other are put in one by one, as if they did not ("interventional"): the model is explained,
not the world. Of two copies of a column, each gets what the model takes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Inputs = Mapping[str, Array]

_WALKED_ROWS = 4000  # per explained row: with few columns there are more walks
_MOST_PAIRS = 16
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Explanation:
    """The explanation of one answer.

    Attributes:
        of: What is explained: a class, whose probability it is, or `prediction`.
        answer: The answer, a probability or a number.
        mean: The mean answer to the background rows.
        shares: By input, what it moves the answer away from the mean; the sum is `answer` - `mean`.
    """

    of: str
    answer: float
    mean: float
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Explained:
    """The explanations of some rows, and what they cost.

    Attributes:
        explanations: One for each row.
        background_rows: The number of background rows.
        calls: How often the model was called, each time with many rows.
        scored_rows: How many rows it has answered.
    """

    explanations: tuple[Explanation, ...]
    background_rows: int
    calls: int
    scored_rows: int


def count_scored_rows(rows: int, columns: int, background_rows: int) -> int:
    """Return how many rows the model must answer to explain some rows."""
    per_row = 2 * _pairs(columns, background_rows) * background_rows * max(columns - 1, 0)
    return background_rows + rows + rows * per_row


def targets(answers: Array, classes: Sequence[str], positive: str) -> tuple[list[int], list[str]]:
    """Return what to explain of each answer, see `explain`.

    It is the probability of the positive class of a binary problem, else of the most likely class, or the number.

    Args:
        answers: The model's answers [rows, k].
        classes: Names of the classes by id; empty for regression.
        positive: The positive class; '' if there is none.
    """
    if not classes:
        return [0] * len(answers), ["prediction"] * len(answers)
    ids = [classes.index(positive)] * len(answers) if positive in classes else answers.argmax(axis=1).tolist()
    return ids, [classes[i] for i in ids]


def explain(
    rows: Inputs,
    background: Inputs,
    target: Callable[[Array], tuple[list[int], list[str]]],
    *,
    seed: int = 0,
    block_rows: int = BLOCK_ROWS,
) -> Generator[Inputs, Array, Explained]:
    """Explain the answers to rows; a generator that yields inputs, and is sent the model's answers to them.

    So the caller decides how the model is called: in this process, or in turn with the requests of a server.

    Args:
        rows: Values [rows] or [rows, n] by input.
        background: The same of the background rows.
        target: From the answers to the rows [rows, k], what to explain of each: the index of one of the k numbers, and
            its name.
        seed: Of the permutations.
        block_rows: How many rows to yield at a time.

    Yields:
        Values by input; the model's answers float [rows, k] are to be sent back.

    Raises:
        DataError: An answer is NaN or infinite.
    """
    import numpy as np

    names = list(rows)
    first = {name: _joined(background[name], rows[name]) for name in names}
    count = len(background[names[0]])
    answers = _finite((yield first))
    of_background, of_rows = answers[:count], answers[count:]
    indices, titles = target(of_rows)
    walks = _Walks.drawn(len(names), count, seed)
    calls, scored, explanations = 1, len(answers), []
    for number, (index, title) in enumerate(zip(indices, titles, strict=True)):
        row = {name: values[count + number] for name, values in first.items()}
        between = np.empty(walks.inner_rows)
        for part in walks.parts(block_rows):
            between[part] = _finite((yield walks.inputs(part, row, first, names)))[:, index]
            calls, scored = calls + 1, scored + part.stop - part.start
        answer, means = float(of_rows[number, index]), of_background[:, index]
        shares = walks.shares(means, between, answer)
        explanations.append(Explanation(title, answer, float(means.mean()), dict(zip(names, shares, strict=True))))
    return Explained(tuple(explanations), count, calls, scored)


@dataclass(frozen=True)
class _Walks:
    """Walks from background rows to a row.

    Attributes:
        starts: The background row of each walk [walks].
        positions: When each column is put in, from 0 on [walks, columns].
    """

    starts: Array
    positions: Array

    @classmethod
    def drawn(cls, columns: int, background_rows: int, seed: int) -> _Walks:
        import numpy as np

        random = np.random.default_rng(seed)
        pairs = _pairs(columns, background_rows)
        half = random.permuted(np.tile(np.arange(columns), (background_rows * pairs, 1)), axis=1)
        starts = np.tile(np.arange(background_rows), 2 * pairs)
        return cls(starts, np.concatenate([half, columns - 1 - half]))

    @property
    def inner_rows(self) -> int:
        """The number of rows between the beginnings and the ends of all walks."""
        walks, columns = self.positions.shape
        return int(walks * (columns - 1))

    def parts(self, size: int) -> Iterator[slice]:
        """Yield the inner rows in parts."""
        for start in range(0, self.inner_rows, size):
            yield slice(start, min(start + size, self.inner_rows))

    def inputs(self, part: slice, row: Mapping[str, Any], first: Inputs, names: list[str]) -> Inputs:
        """Return some of the inner rows."""
        import numpy as np

        walk, step = np.divmod(np.arange(part.start, part.stop), self.positions.shape[1] - 1)
        starts, own = self.starts[walk], self.positions[walk] <= step[:, None]
        values = {}
        for column, name in enumerate(names):
            of_start = first[name][starts]
            mask = own[:, column] if of_start.ndim == 1 else own[:, column, None]
            values[name] = np.where(mask, row[name], of_start)
        return values

    def shares(self, of_background: Array, between: Array, answer: float) -> list[float]:
        """Return the share of each column.

        Args:
            of_background: The answers to the background rows [background rows].
            between: The answers to the inner rows.
            answer: The answer to the row.
        """
        import numpy as np

        walks, columns = self.positions.shape
        path = np.empty((walks, columns + 1))
        path[:, 0], path[:, -1] = of_background[self.starts], answer
        path[:, 1:-1] = between.reshape(walks, columns - 1)
        changes = np.take_along_axis(np.diff(path, axis=1), self.positions, axis=1)
        return [float(share) for share in changes.mean(axis=0)]


def _pairs(columns: int, background_rows: int) -> int:
    """Return how many pairs of walks begin at each background row."""
    of_one = 2 * background_rows * max(columns - 1, 1)
    return min(max(_WALKED_ROWS // of_one, 1), _MOST_PAIRS)


def _joined(background: Array, rows: Array) -> Array:
    """Return the background rows, then the rows; lists of several lengths are filled up as those of a request are."""
    import numpy as np

    if background.ndim == 2 and background.shape[1] != rows.shape[1]:
        from benison.serving.missing_values import marker

        width = max(background.shape[1], rows.shape[1])
        kind = background.dtype.kind
        filler = b"" if kind == "O" else marker("float32" if kind == "f" else "int64")
        background, rows = (
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=filler) for part in (background, rows)
        )
    return np.concatenate([background, rows])


def _finite(answers: Array) -> Array:
    import numpy as np

    values = np.asarray(answers, np.float64)
    if not np.isfinite(values).all():
        raise DataError("an answer is NaN or infinite, so nothing can be explained; correct the row")
    return values
