"""Tells whether a split has enough rows for a rule to judge, and how many rows would do.

The answer comes from simulation, because no formula fits all metrics. A model is made up that knows half of what there
is to know. It then meets the rule itself, on labels like those of the split, many times:

- Classification: the model gives the right class with certainty in a random half of the rows, and the guess in the
  others (the class frequencies of `train`; for accuracy, the majority class). The labels are those of the split, so
  that few rows of a rare class count as few.
- Regression: prediction and label are drawn from normal distributions, so that the error of the prediction is half of
  that of the mean. The answer depends on the number of rows only. The tails of real labels can be so heavy that no
  number of rows is enough; that is for the bootstrap to see.

A rule has enough rows if it decides such cases correctly in at least `POWER` of the draws:

- "better than a guess" must bless the model that knows half. If it only blesses perfect answers, then a blessing says
  more about luck than about the model (J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition,
  Erlbaum 1988, chapter 1).
- "not worse than" must refuse a candidate that has lost half of what the model of the first kind knows.
- A bound must refuse the candidate's own predictions after a shuffle, if it refuses the guess.

`calibration_error` is not about knowledge: the guess is calibrated too. Only the number of rows counts there, and for a
user's own metric that gives one number for all rows, because a simulation would call it too often.

Sample weights stay at their labels in a draw. Where rows are counted, it is the number of rows of equal weight that
tell as much (`benison.components.sample_weights`).

These are the smallest demands that make a verdict meaningful. They do not promise that small differences are seen. With
fewer than `FEWEST` rows a rule never has enough: percentile intervals of so few rows are too short for every metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate import permutation
from benison.components.evaluate.bootstrap import Interval, paired_difference
from benison.components.evaluate.metrics import Metric
from benison.components.sample_weights import effective_rows

POWER = 0.8
FEWEST = 20
MOST_ROWS = 20_000  # larger numbers of rows are not looked at
_DRAWS, _RESAMPLES, _SHUFFLES = 40, 500, 60
_BOUND_SHUFFLES, _LUCKY = 200, 0.05
_MANY = 100  # of rows that tell, are enough for every rule here
_OTHERS = 1000  # rows of the most frequent class that tell as much as all
_AMPLE_POWER, _PRECISION = 0.9, 1.2


@dataclass(frozen=True)
class Case:
    """Metric and data of a rule.

    Attributes:
        problem: binary, multiclass or regression.
        metric: the metric of the rule.
        frequencies: of the classes in `train` float [classes]; unused for regression.
        seed: seed of the draws.
    """

    problem: str
    metric: Metric
    frequencies: NDArray
    seed: int

    @property
    def guess(self) -> NDArray:
        """The best answer that is the same for all rows [classes]."""
        return best_guess(self.metric, self.frequencies)


@dataclass(frozen=True)
class Shortage:
    """Too few rows to judge.

    Attributes:
        rows: how many rows would do; None if they are more than `MOST_ROWS`.
        text: the rows that are there, and those that would do.
    """

    rows: int | None
    text: str


def best_guess(metric: Metric, frequencies: NDArray) -> NDArray:
    """Return the class frequencies, or for a metric of decisions the best class, whatever a threshold would decide.

    For accuracy it is the majority class, and for f1 and precision of a binary problem the positive class.
    """
    frequencies = np.asarray(frequencies, np.float64)
    if not metric.of_decisions:
        return frequencies
    # One row for each class, which counts as often as the class is seen.
    ids, certain = np.arange(len(frequencies)), np.eye(len(frequencies))
    sign = 1 if metric.greater_is_better else -1
    values = [sign * metric.compute(ids, np.tile(of_class, (len(ids), 1)), frequencies) for of_class in certain]
    return np.asarray(certain[int(np.argmax(np.nan_to_num(values, nan=-np.inf)))])


@dataclass(frozen=True)
class _Drawn:
    """Rows that are made up.

    Attributes:
        labels: see `Metric.compute`.
        weights: sample weights [rows]; None if all are equal.
        half: the answers of a model that knows half.
        guess: those of the guess.
        quarter: those of the model after half of its knowledge is lost.
    """

    labels: NDArray
    weights: NDArray | None
    half: NDArray
    guess: NDArray
    quarter: NDArray


def blesses_half(case: Case, labels: NDArray, weights: NDArray | None, power: float, *, confidence: float) -> bool:
    """Return True if "better than a guess" would bless a model that knows half.

    Args:
        case: the rule.
        labels: of the split, see `Metric.compute`; of a regression, only their number counts.
        weights: sample weights of the split [rows]; None if all are equal.
        power: in which share of the draws it must.
        confidence: confidence level of the rule.
    """

    def is_blessed(rng: np.random.Generator) -> bool:
        drawn = _draw(case, labels, weights, rng)
        interval = _interval(case, drawn, drawn.half, drawn.guess, confidence)
        return interval.low > 0 and _beats_shuffles(case, drawn, confidence, rng)

    return _is_usual(case, is_blessed, power)


def refuses_loss(case: Case, labels: NDArray, weights: NDArray | None, power: float, *, confidence: float) -> bool:
    """Return True if "not worse than" would refuse a candidate that has lost half; see `blesses_half`."""

    def is_refused(rng: np.random.Generator) -> bool:
        drawn = _draw(case, labels, weights, rng)
        return _interval(case, drawn, drawn.quarter, drawn.half, confidence).high < 0

    return _is_usual(case, is_refused, power)


def refuses_shuffled(
    metric: Metric,
    labels: NDArray,
    answers: NDArray,
    passes: Callable[[float], bool],
    weights: NDArray | None = None,
) -> bool:
    """Return True if a bound refuses nearly all shuffles of the candidate's predictions.

    Args:
        metric: the metric of the bound.
        labels: of the split, see `Metric.compute`.
        answers: predictions of the candidate.
        passes: returns whether a value of the metric is within the bound.
        weights: sample weights of the split [rows]; None if all are equal.
    """
    rng = np.random.default_rng(0)
    lucky = sum(passes(metric.compute(labels, rng.permutation(answers), weights)) for _ in range(_BOUND_SHUFFLES))
    return lucky <= _LUCKY * _BOUND_SHUFFLES


def shortage(
    case: Case, labels: NDArray, weights: NDArray | None, enough: Callable[[NDArray, NDArray | None, float], bool]
) -> Shortage | None:
    """Return how many rows are missing; None if the rows are enough.

    Args:
        case: the rule.
        labels: of the split, see `Metric.compute`.
        weights: sample weights of the split [rows]; None if all are equal.
        enough: returns whether a split with such labels and weights is large enough for the rule, with a given power.
    """
    tells = permutation.telling_rows(case.problem, labels, weights) if len(labels) else 0
    counted = len(labels) if weights is None else effective_rows(weights)
    if counted >= FEWEST and (tells >= _MANY or (tells and enough(labels, weights, POWER))):
        return None
    wanted = _wanted(case, enough)
    mix = "" if case.problem == "regression" else " with the classes of `train`"
    if wanted is None:
        return Shortage(
            None, f"{_size(case.problem, labels, weights)}; more than {MOST_ROWS} rows{mix} would be necessary"
        )
    would_do = f"about {_size(case.problem, wanted)},{mix}, would do" if mix else f"about {len(wanted)} would do"
    if weights is None or not counted:
        return Shortage(len(wanted), f"{_size(case.problem, labels)}; {would_do}")
    rows = _rounded(len(wanted) * len(labels) / counted)
    return Shortage(rows, f"{_size(case.problem, labels, weights)}; of equal weight, {would_do}")


def _wanted(case: Case, enough: Callable[[NDArray, NDArray | None, float], bool]) -> NDArray | None:
    """Return labels of a split that is large enough, nearly as small as possible; None beyond `MOST_ROWS`.

    Those of a classification have the class frequencies of `train`.
    """

    def labels_if_enough(size: float) -> NDArray | None:
        rows = _rounded(size)
        labels = np.zeros((rows, 1)) if case.problem == "regression" else _labels(case.frequencies, rows)
        tells = permutation.telling_rows(case.problem, labels)
        # More power than necessary, because the classes of the next `test` are not exactly these.
        return labels if tells >= _MANY or (tells > 1 and enough(labels, None, _AMPLE_POWER)) else None

    size, found = float(FEWEST), None
    while found is None and size <= MOST_ROWS:
        found, size = labels_if_enough(size), 2 * size
    low, high = size / 4, size / 2
    while found is not None and high > FEWEST and high / low > _PRECISION:
        middle = (low * high) ** 0.5
        smaller = labels_if_enough(middle)
        found, low, high = (found, middle, high) if smaller is None else (smaller, low, middle)
    return found


def _size(problem: str, labels: NDArray, weights: NDArray | None = None) -> str:
    """Describe the size of a split, such as `16 rows, 3 of them outside the most frequent class`."""
    rows = f"{len(labels)} row{'' if len(labels) == 1 else 's'}"
    if weights is not None:
        rows += f", which tell as much as {effective_rows(weights):.1f} of equal weight"
    if problem == "regression" or not len(labels):
        return rows
    return f"{rows}, {permutation.telling_rows(problem, labels, weights)} of them outside the most frequent class"


def _is_usual(case: Case, decides: Callable[[np.random.Generator], bool], power: float) -> bool:
    """Return True if a share `power` of the draws is decided as it should be."""
    if not case.metric.simulated:
        return True
    rng = np.random.default_rng(case.seed)
    mistakes = 0
    for _ in range(_DRAWS):
        mistakes += not decides(rng)
        if mistakes > (1 - power) * _DRAWS + 1e-9:
            return False
    return True


def _interval(case: Case, drawn: _Drawn, answers: NDArray, other: NDArray, confidence: float) -> Interval:
    """Return the interval of the gain of some answers over others."""
    return paired_difference(
        case.metric, drawn.labels, answers, other, confidence, _RESAMPLES, case.seed, drawn.weights
    )[1]


def _draw(case: Case, labels: NDArray, weights: NDArray | None, rng: np.random.Generator) -> _Drawn:
    """Make up answers to rows with such labels; of a regression, labels too."""
    if case.problem == "regression":
        # The variance of the label is 1. The best prediction from its first part has the error 3/4, from both 1/2.
        first, second, rest = rng.normal(size=(3, len(labels), 1))
        quarter = first * np.sqrt(1 - 0.75**2)
        half = quarter + second * np.sqrt(0.75**2 - 0.5**2)
        truth = half + rest * 0.5
        return _Drawn(truth, weights, half, np.zeros_like(truth), quarter)
    rows = _part(labels, weights, rng)
    labels, weights = labels[rows], None if weights is None else weights[rows]
    guess = np.broadcast_to(case.guess, (len(labels), len(case.guess)))
    right = np.eye(len(case.guess))[labels]
    known, kept = rng.random((2, len(labels))) < 0.5
    half = np.where(known[:, None], right, guess)
    return _Drawn(labels, weights, half, guess, np.where((known & kept)[:, None], right, guess))


def _part(labels: NDArray, weights: NDArray | None, rng: np.random.Generator) -> NDArray:
    """Return all rows, or fewer of the most frequent class, if it has very many."""
    frequent = permutation.most_frequent(labels, weights)
    others = np.flatnonzero(frequent)
    if len(others) <= _OTHERS:
        return np.arange(len(labels))
    return np.concatenate([np.flatnonzero(~frequent), rng.choice(others, _OTHERS, replace=False)])


def _beats_shuffles(case: Case, drawn: _Drawn, confidence: float, rng: np.random.Generator) -> bool:
    """Return True if the rule's permutation test would bless the answers; see `permutation`.

    The rule makes a thousand shuffles. Here a normal distribution with the mean and deviation of a few stands for them.
    """
    if not permutation.are_few(case.problem, drawn.labels, drawn.weights):
        return True
    sign = 1.0 if case.metric.greater_is_better else -1.0

    def score(answers: NDArray) -> float:
        return sign * case.metric.compute(drawn.labels, answers, drawn.weights)

    scores = np.array([score(rng.permutation(drawn.half)) for _ in range(_SHUFFLES)])
    limit = scores.mean() + NormalDist().inv_cdf(confidence) * scores.std()
    return score(drawn.half) > max(limit, scores.max())


def _labels(frequencies: NDArray, rows: int) -> NDArray:
    """Return class ids [rows] with frequencies as near as whole rows allow."""
    shares = np.asarray(frequencies, np.float64) * rows
    counts = np.floor(shares).astype(np.int64)
    rest = np.argsort(counts - shares, kind="stable")[: rows - counts.sum()]
    counts[rest] += 1
    return np.repeat(np.arange(len(counts)), counts)


def _rounded(size: float) -> int:
    """Round up to two digits: the answer of a simulation has no more."""
    unit = 10 ** max(len(str(int(size))) - 2, 0)
    return int(-(-size // unit) * unit)
