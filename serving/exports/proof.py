"""The rows by which an export is proven before it is written: those of ServingValidator, with boundary values.

They are the answers of the members as they were trained, combined, so an export is compared with the training and not
with the SavedModel that it was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benison.serving.errors import BenisonError, VersionError
from benison.serving.versions.local import EXTRA, Version

ROWS = f"{EXTRA}/parity_rows.npz"
TOLERANCE = 1e-5
_INPUT = "input:"


class NotExportable(BenisonError):
    """Error for a version that cannot be exported; the message names the operation, the member or the row."""


@dataclass(frozen=True)
class Proof:
    """Rows and the answers that are expected.

    Attributes:
        inputs: values [rows] or [rows, n] by input of the signature `raw`; text as bytes.
        expected: float32 [rows, n].
    """

    inputs: Mapping[str, NDArray]
    expected: NDArray

    @classmethod
    def of(cls, version: Version) -> Proof:
        """Read the rows of a version.

        Raises:
            VersionError: it has none.
        """
        return cls.read(version.path / ROWS)

    @classmethod
    def read(cls, file: Path) -> Proof:
        """Read the rows in a file; see `of`."""
        try:
            with np.load(file) as arrays:
                inputs = {name.removeprefix(_INPUT): arrays[name] for name in arrays.files if name.startswith(_INPUT)}
                expected = arrays["expected"]
        except (OSError, KeyError, ValueError):
            raise VersionError(
                f"{file}: no rows to prove an export by; only versions that `benison run` pushed have them"
            ) from None
        texts = {name: values.astype(object) if values.dtype.kind == "S" else values for name, values in inputs.items()}
        return cls(texts, expected)

    def check(self, answers: NDArray, what: str) -> str:
        """Compare answers with the expected ones, and return a sentence about it.

        Args:
            answers: float [rows, n].
            what: what gave the answers.

        Raises:
            NotExportable: an answer differs by more than 1e-5 of its scale.
        """
        answers, expected = np.asarray(answers, np.float64), np.asarray(self.expected, np.float64)
        if answers.shape != expected.shape:
            raise NotExportable(f"{what}: got answers {answers.shape}, expected {expected.shape}; nothing was written")
        sizes = np.where(np.isfinite(expected), np.abs(expected), 0.0)
        # As ServingValidator does: an answer of 1e30 must not hide differences in other rows.
        scale = np.maximum(max(1.0, float(np.median(sizes)) if sizes.size else 1.0), sizes.max(axis=1, keepdims=True))
        with np.errstate(invalid="ignore"):
            differences = np.abs(answers - expected) / scale
        differences = np.where(np.isnan(differences), np.inf, differences).max(axis=1)
        overflown = ~np.isfinite(answers).all(axis=1) & ~np.isfinite(expected).all(axis=1)
        differences = np.where(overflown | (answers == expected).all(axis=1), 0.0, differences)
        worst = int(differences.argmax()) if len(differences) else 0
        largest = float(differences.max(initial=0.0))
        if not largest <= TOLERANCE:
            row = ", ".join(f"{name}={values[worst]!r}" for name, values in list(self.inputs.items())[:20])
            raise NotExportable(
                f"{what}: the answer to row {worst} is {answers[worst].tolist()}, expected {expected[worst].tolist()} "
                f"(the tolerance is {TOLERANCE:g} of the scale); the row: {row}; nothing was written"
            )
        return f"{what}: {len(answers)} rows answered as in training (largest difference {largest:.1g})"
