"""The ensemble: one small spec of members and a combiner. Pure: no TFX, and TensorFlow only to combine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

SPEC_FILE = "ensemble.json"


@dataclass(frozen=True)
class Ensemble:
    """What is combined, and how.

    Attributes:
        members: names, in the order in which their outputs are combined.
        combiner: `mean` (unweighted, of probabilities or predictions).
        output: key of the prediction, `probabilities` or `prediction`.
    """

    members: tuple[str, ...]
    combiner: Literal["mean"]
    output: Literal["probabilities", "prediction"]

    def combine(self, outputs: Mapping[str, Any]) -> Any:
        """The ensemble's output.

        Args:
            outputs: float32 [batch, n] by member.

        Returns:
            float32 [batch, n]: the arithmetic mean (the sum rule of Kittler et al., "On Combining Classifiers", 1998).
        """
        import tensorflow as tf

        return tf.reduce_mean(tf.stack([outputs[name] for name in self.members]), axis=0)

    def save(self, folder: Path) -> None:
        """Writes `ensemble.json` into a folder."""
        (folder / SPEC_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Ensemble:
        """Reads `ensemble.json` from a folder."""
        fields = json.loads((folder / SPEC_FILE).read_text())
        return cls(**{**fields, "members": tuple(fields["members"])})
