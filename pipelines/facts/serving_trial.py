"""Read ServingValidator's trial: the parity of the serving paths, and costs beside their budget."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOLERANCE = 1e-5  # of `benison.components.deploy.path_parity`
_COSTS = {"load_s": ("load time", "s"), "memory_mb": ("peak memory", "MB"), "p99_ms": ("p99 latency", "ms")}


@dataclass(frozen=True)
class Parity:
    """The comparison of one path with the training path.

    Attributes:
        path: its name.
        rows: number of rows.
        difference: the largest difference, in units of the answers' scale; None if it is not finite.
    """

    path: str
    rows: int
    difference: float | None


@dataclass(frozen=True)
class Cost:
    """A cost of serving.

    Attributes:
        name: such as `load time`.
        unit: s, MB or ms.
        value: the smallest of all attempts.
        budget: its limit.
    """

    name: str
    unit: str
    value: float
    budget: float


@dataclass(frozen=True)
class Check:
    """A check of the trial: its name, whether it passed, and a sentence."""

    rule: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class ServingTrial:
    """The trial of a candidate on a model server."""

    blessed: bool
    parity: Sequence[Parity]
    costs: Sequence[Cost]
    checks: Sequence[Check]


def read(folder: Path) -> ServingTrial:
    """Read an artifact of type InfraBlessing.

    Raises:
        OSError: the artifact no longer exists.
    """
    data = json.loads((folder / "serving.json").read_text(encoding="utf-8"))
    measured, budget = data.get("measured") or [], data.get("budget") or {}
    costs = [
        Cost(name, unit, min(attempt[key] for attempt in measured), budget[key])
        for key, (name, unit) in _COSTS.items()
        if measured and key in budget and all(key in attempt for attempt in measured)
    ]
    return ServingTrial(
        data["blessed"],
        [Parity(entry["path"], entry["rows"], entry["difference"]) for entry in data.get("parity", [])],
        costs,
        [Check(verdict["rule"], verdict["passed"], verdict["reason"]) for verdict in data["verdicts"]],
    )
