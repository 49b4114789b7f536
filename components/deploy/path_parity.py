"""Parity: the same rows through every path must give the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-5


@dataclass(frozen=True)
class PathParity:
    """One path against the reference.

    Attributes:
        path: its name.
        rows: how many were compared.
        difference: the largest, in units of the scale (the largest of 1, the row's values and the median value);
            infinity where shapes differ, or one row is finite and the other is not.
        row: where it is; None where there are no rows.
    """

    path: str
    rows: int
    difference: float
    row: int | None

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= TOLERANCE

    def sentence(self, reference: str) -> str:
        """What was found, in words."""
        if self.agrees:
            return f"{self.path} agrees with {reference} on {self.rows} rows (largest difference {self.difference:.1g})"
        return (
            f"{self.path} differs from {reference} by {self.difference:.3g} in row {self.row} of {self.rows} "
            f"({TOLERANCE:g} of the scale is allowed)"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data; infinity becomes None."""
        return asdict(self) | {"difference": self.difference if np.isfinite(self.difference) else None}


def compare(reference: NDArray, paths: Mapping[str, NDArray]) -> list[PathParity]:
    """Holds each path's answers [rows, n] against the reference's."""
    return [_compare(name, np.asarray(reference, np.float64), answers) for name, answers in paths.items()]


def _compare(path: str, reference: NDArray, answers: NDArray) -> PathParity:
    answers = np.asarray(answers, np.float64)
    if answers.shape != reference.shape:
        return PathParity(path, len(reference), float("inf"), 0 if len(reference) else None)
    if not reference.size:
        return PathParity(path, 0, 0.0, None)
    sizes = np.where(np.isfinite(reference), np.abs(reference), 0.0)
    # Of the row, because one answer of 1e30 would hide all that is wrong with the others; and of the usual row, because
    # next to 0 nothing has more digits than that.
    scale = np.maximum(max(1.0, float(np.median(sizes))), sizes.max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        apart = np.abs(answers - reference) / scale
    apart = np.where(np.isnan(apart), np.inf, apart).max(axis=1)
    # Which values of a row that overflows become NaN, and which infinite, depends on the processor and the thread.
    overflown = ~np.isfinite(answers).all(axis=1) & ~np.isfinite(reference).all(axis=1)
    apart = np.where(overflown | (answers == reference).all(axis=1), 0.0, apart)
    return PathParity(path, len(reference), float(apart.max()), int(apart.argmax()))
