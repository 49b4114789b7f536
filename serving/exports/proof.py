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

from benison.serving import path_parity
from benison.serving.errors import BenisonError, VersionError
from benison.serving.versions.local import EXTRA, Version

ROWS = f"{EXTRA}/parity_rows.npz"
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
        if answers.shape != self.expected.shape:
            raise NotExportable(
                f"{what}: got answers {answers.shape}, expected {self.expected.shape}; nothing was written"
            )
        (parity,) = path_parity.compare(self.expected, {what: answers})
        if not parity.agrees:
            worst = parity.row or 0
            row = ", ".join(f"{name}={values[worst]!r}" for name, values in list(self.inputs.items())[:20])
            raise NotExportable(
                f"{what}: the answer to row {worst} is {answers[worst].tolist()}, expected "
                f"{self.expected[worst].tolist()} (the tolerance is {path_parity.TOLERANCE:g} of the scale); the row: "
                f"{row}; nothing was written"
            )
        return f"{what}: {len(answers)} rows answered as in training (largest difference {parity.difference:.1g})"
