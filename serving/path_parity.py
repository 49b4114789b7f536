"""Compares the answers of serving paths: the same rows must give the same answers on every path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-5


@dataclass(frozen=True)
class PathParity:
    """Comparison of one path with the reference.

    Attributes:
        path: name of the path.
        rows: number of compared rows.
        difference: largest difference, in units of the scale (the maximum of 1, the values of the row and the median
            value); infinity if shapes differ, or if one row is finite and the other is not.
        row: index of the row with the largest difference; None if there are no rows.
    """

    path: str
    rows: int
    difference: float
    row: int | None

    @property
    def agrees(self) -> bool:
        """True if the difference is within the tolerance."""
        return self.difference <= TOLERANCE

    def describe(self, reference: str) -> str:
        """Describe the result in one sentence."""
        if self.agrees:
            return f"{self.path} agrees with {reference} on {self.rows} rows (largest difference {self.difference:.1g})"
        return (
            f"{self.path} differs from {reference} by {self.difference:.3g} in row {self.row} of {self.rows} "
            f"(the tolerance is {TOLERANCE:g} of the scale)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return data for strict JSON; infinity becomes None."""
        return asdict(self) | {"difference": self.difference if np.isfinite(self.difference) else None}


def compare(reference: NDArray, paths: Mapping[str, NDArray]) -> list[PathParity]:
    """Compare the answers [rows, n] of each path with those of the reference."""
    return [_compare(name, np.asarray(reference, np.float64), answers) for name, answers in paths.items()]


def _compare(path: str, reference: NDArray, answers: NDArray) -> PathParity:
    answers = np.asarray(answers, np.float64)
    if answers.shape != reference.shape:
        return PathParity(path, len(reference), float("inf"), 0 if len(reference) else None)
    if not reference.size:
        return PathParity(path, 0, 0.0, None)
    sizes = np.where(np.isfinite(reference), np.abs(reference), 0.0)
    # The scale depends on the row, so that an answer of 1e30 does not hide differences in other rows. It is at least
    # the median, because the rounding error of values close to 0 is of that size.
    scale = np.maximum(max(1.0, float(np.median(sizes))), sizes.max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        differences = np.abs(answers - reference) / scale
    differences = np.where(np.isnan(differences), np.inf, differences).max(axis=1)
    # In a row that overflows, which values become NaN and which become infinite depends on the CPU and the thread.
    overflown = ~np.isfinite(answers).all(axis=1) & ~np.isfinite(reference).all(axis=1)
    differences = np.where(overflown | (answers == reference).all(axis=1), 0.0, differences)
    return PathParity(path, len(reference), float(differences.max()), int(differences.argmax()))
