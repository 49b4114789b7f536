"""Compare the label of two spans by a test, with the size of the change beside it.

A distance between distributions hardly sees what matters most: from 62 % to 90 % positives, the Jensen-Shannon
divergence is below 0.1. And with many rows a test alone finds every change, however small. So both are asked.

| label   | test                                       | size                                                    |
|---------|--------------------------------------------|---------------------------------------------------------|
| classes | chi-squared test of homogeneity (Pearson)  | h (J. Cohen, Statistical Power Analysis, 1988, ch. 6)   |
| numbers | Kolmogorov and Smirnov, two samples        | D, the largest difference of the cumulative shares      |

For more than two classes, h is twice the angle between the square roots of the shares, which is Cohen's h for two.
Cohen calls 0.5 a medium change; two normal distributions that are half a deviation apart have D = 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.sample_weights import effective_rows, median

CLASSES_LIMIT, NUMBERS_LIMIT = 0.5, 0.2
_FEWEST_EXPECTED = 5  # rows; classes with fewer are counted together, because the test is not exact for them (Cochran)


@dataclass(frozen=True)
class LabelShift:
    """The change of a label between two spans.

    Attributes:
        distance: its size, from 0: h or D.
        p: the probability that chance alone explains a change of this size or more.
        measure: names of size and test.
        before: the label of the earlier span, in a few figures.
        now: the same for this span.
    """

    distance: float
    p: float
    measure: str
    before: str
    now: str

    def to_json(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return asdict(self)


def of_classes(before: Mapping[str, float], now: Mapping[str, float]) -> LabelShift:
    """Compare the number of rows of each class, in rows of equal weight; both spans have rows."""
    from scipy.stats import chi2_contingency

    names = sorted(before.keys() | now.keys())
    table = np.array([[counts.get(name, 0) for name in names] for counts in (before, now)], np.float64)
    rows = table.sum(axis=1)
    shares = table / rows[:, None]
    size = 2 * float(np.arccos(np.clip(np.sqrt(shares[0] * shares[1]).sum(), 0, 1)))
    rare = table.sum(axis=0) * rows.min() / rows.sum() < _FEWEST_EXPECTED
    pooled = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)]) if rare.any() else table
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    p = float(chi2_contingency(pooled, correction=False)[1]) if pooled.shape[1] > 1 else 1.0
    largest = sorted(range(len(names)), key=lambda i: -abs(shares[1, i] - shares[0, i]))[:3]
    texts = [
        f"{', '.join(f'{names[i]!r} {share[i]:.1%}' for i in largest)} of {round(of_span)} rows"
        for share, of_span in zip(shares, rows, strict=True)
    ]
    return LabelShift(size, p, "Cohen's h; chi-squared test", *texts)


def of_numbers(before: tuple[NDArray, NDArray], now: tuple[NDArray, NDArray]) -> LabelShift:
    """Compare numbers of two spans, by their sample weights.

    Args:
        before: numbers and weights [rows] of the earlier span, all finite, the weights above 0; there are rows.
        now: the same of this span.
    """
    from scipy.stats import kstwo

    points = np.concatenate([before[0], now[0]])
    distance = float(np.abs(_share_up_to(points, *before) - _share_up_to(points, *now)).max())
    sizes = [effective_rows(weights) for _, weights in (before, now)]
    p = float(kstwo.sf(distance, max(round(sizes[0] * sizes[1] / sum(sizes)), 1)))  # as scipy's ks_2samp, asymptotic
    texts = [
        f"median {median(values, weights):.6g}, mean {np.average(values, weights=weights):.6g} of {round(size)} rows"
        for (values, weights), size in zip((before, now), sizes, strict=True)
    ]
    return LabelShift(distance, p, "Kolmogorov-Smirnov's D and test", *texts)


def _share_up_to(points: NDArray, values: NDArray, weights: NDArray) -> NDArray:
    """Return the share of the weight of all values that are at most each point."""
    order = np.argsort(values, kind="stable")
    upto = np.concatenate([[0.0], np.cumsum(weights[order]) / weights.sum()])
    return upto[np.searchsorted(values[order], points, side="right")]
