"""Read how members were trained: the histories of trainers and trials, and the trials of tuners."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class History:
    """The metrics of a training by epoch or tree.

    Attributes:
        unit: epoch or tree.
        best: the unit whose weights were kept, from 0; None if the last ones were.
        metrics: values per unit, by name; names with `val_` are those on `valid`.
    """

    unit: str
    best: int | None
    metrics: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Trial:
    """A trial of a tuner.

    Attributes:
        id: its name.
        score: loss on `valid`; None if the trial failed.
        values: its hyperparameters.
        history: of its training; None if it was not recorded.
    """

    id: str
    score: float | None
    values: Mapping[str, Any]
    history: History | None = None


def read_history(file: Path) -> History | None:
    """Read a `history.json`; None if there is none."""
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    return History(data["unit"], data.get("best"), data["metrics"])


def of_model(folder: Path) -> History | None:
    """Return the history of a member's training, from its artifact of type Model; None if there is none."""
    return read_history(folder / "history.json")


def trials(folder: Path) -> list[Trial]:
    """Read an artifact of type TunerResults: the trials, best first.

    Raises:
        OSError: the artifact no longer exists.
    """
    result = []
    for entry in json.loads((folder / "tuner_results.json").read_text(encoding="utf-8")):
        values = dict(entry)
        name, score = str(values.pop("trial_id")), values.pop("score", None)
        history = read_history(folder / "histories" / f"{name}.json")
        result.append(Trial(name, score, values, history))
    return result
