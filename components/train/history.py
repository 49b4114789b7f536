"""The history of a training: the losses by epoch or tree, as `history.json` and as TensorBoard's event files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

FILE = "history.json"  # beside the model of a member
TRIALS = "histories"  # in the artifact of the Tuner's results: one file per trial
EVENTS = "logs"  # in the same: one folder of event files per trial
VALID = "val_"  # prefix of what was measured on rows that the member does not learn from


@dataclass(frozen=True)
class History:
    """The losses of a training.

    Attributes:
        unit: what a member learns by: `epoch`, `tree` or `step`.
        best: the round whose model was kept, from 0; None if it is not known.
        metrics: by name, such as `loss` and `val_loss`, a number per round; None for rounds without one.
    """

    unit: str
    best: int | None
    metrics: Mapping[str, Sequence[float | None]]

    def with_folds(self, folds: Sequence[History | None]) -> History:
        """Return this history with the means of what folds measured on rows that they did not learn from.

        A mean ends where the first fold stopped, so that it is always of the same rows.
        """
        known = [fold.metrics for fold in folds if fold is not None]
        if not known or len(known) < len(folds):
            return self
        names = [name for name in known[0] if name.startswith(VALID) and all(name in fold for fold in known)]
        means = {
            name: [_mean(values) for values in zip(*(fold[name] for fold in known), strict=False)] for name in names
        }
        return replace(self, metrics={**self.metrics, **means})

    def save(self, file: Path) -> None:
        """Write the history as JSON: `unit`, `best`, and `metrics`, whose lists have the same length."""
        rounds = max(map(len, self.metrics.values()), default=0)
        metrics = {
            name: [*map(_finite, values), *[None] * (rounds - len(values))] for name, values in self.metrics.items()
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"unit": self.unit, "best": self.best, "metrics": metrics}, allow_nan=False)
        file.write_text(f"{text}\n", encoding="utf-8")

    def write_events(self, folder: Path) -> None:
        """Write event files for TensorBoard into `train` and `validation` of a folder, as Keras does.

        The tags are those of Keras's callback, such as `epoch_loss`; of trees, `tree_loss`. If Keras itself trained the
        member, it has written them, and this writes nothing.
        """
        # Ten times as fast as tf.summary, which runs an operation per number.
        from tensorboard.summary import Writer

        if any(folder.glob("*/events.*")):
            return
        for part, prefix in (("train", ""), ("validation", VALID)):
            metrics = {n: values for n, values in self.metrics.items() if n.startswith(VALID) == bool(prefix)}
            if not metrics:
                continue
            writer = Writer(str(folder / part))
            for name, values in metrics.items():
                for number, value in enumerate(values):
                    if value is not None:
                        writer.add_scalar(f"{self.unit}_{name.removeprefix(prefix)}", value, number)
            writer.close()


def of_keras(metrics: Mapping[str, Sequence[Any]]) -> History:
    """Return the history of a model that Keras trained.

    Args:
        metrics: `history` of Keras's History.
    """
    numbers = {name: [float(value) for value in values] for name, values in metrics.items()}
    losses = numbers.get("val_loss")
    best = losses.index(min(losses)) if losses else len(numbers["loss"]) - 1
    return History("epoch", best, numbers)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
