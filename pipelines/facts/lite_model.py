"""Read TFLiteConverter's verdict on the TensorFlow Lite file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LiteModel:
    """The TensorFlow Lite file of a run.

    Attributes:
        rule: name of the verdict.
        passed: True if it is pushed with the ensemble.
        reason: one sentence with the figures.
        signature: raw or transformed; '' if it was not converted.
        outside: why Transform's graph is not in it; '' if it is.
        bytes: its size; None if it was not converted.
        losses: what it loses on each set of rows; the fields of `tflite_converter.Loss`.
    """

    rule: str
    passed: bool
    reason: str
    signature: str
    outside: str
    bytes: int | None
    losses: Sequence[Mapping[str, Any]]

    @property
    def text(self) -> str:
        """The verdict with its consequence, and what the inputs of the file are."""
        if not self.passed:
            return f"{self.reason}; the version is pushed without the file"
        inputs = f"its inputs are features, because {self.outside}" if self.outside else "its inputs are columns"
        return f"{self.reason}; signature {self.signature}: {inputs}"


def read(folder: Path) -> LiteModel:
    """Read an artifact of type LiteModel.

    Raises:
        OSError: the artifact no longer exists.
    """
    data = json.loads((folder / "tflite.json").read_text(encoding="utf-8"))
    return LiteModel(
        f"model.tflite ({data['quantize']}) loses less than {data['max_drop']:g} of {data['metric']}",
        data["passed"],
        data["reason"],
        data.get("signature", ""),
        data.get("outside", ""),
        data.get("bytes"),
        data["losses"],
    )
