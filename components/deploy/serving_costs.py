"""Costs of a candidate on a server: what an attempt measured, and the verdicts by the budget.

Wall time also counts the time in which the server waited for a processor. So each attempt has the processor time and
the load average of the machine beside it, and a refusal tells them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

MAX_ATTEMPTS = 3
_QUANTITIES = {"load_s": ("load time", "s"), "memory_mb": ("peak memory", "MB"), "p99_ms": ("p99 latency", "ms")}
_PROCESSOR = {"load_s": "load_processor_s", "p99_ms": "request_processor_ms"}  # the processor time beside a wall time


@dataclass(frozen=True)
class ServingBudget:
    """Limits of the candidate's costs.

    Attributes:
        load_s: time from the start of a server until it answers (seconds), including the start of the server.
        memory_mb: peak resident memory of a server that has only the candidate (MB of 2^20 bytes).
        p99_ms: 99th percentile of the latency of sequential gRPC requests with one row (milliseconds).
    """

    load_s: float
    memory_mb: float
    p99_ms: float


def load_average() -> float:
    """Return how many processes wanted a processor in the last minute."""
    return os.getloadavg()[0]


def needs_another_attempt(measured: Sequence[Mapping[str, float]], budget: ServingBudget) -> bool:
    """Return True if a budget is exceeded and another attempt may show that it need not be.

    There are `MAX_ATTEMPTS`, and one more where only waiting exceeds the budget: the server used less processor time
    than the budget allows, so the machine was busy, not the model slow.
    """
    limits, best = asdict(budget), best_of_attempts(measured)
    over = [key for key in limits if best[key] > limits[key]]
    if not over or len(measured) > MAX_ATTEMPTS:
        return False
    waited = all(key in _PROCESSOR and best[_PROCESSOR[key]] <= limits[key] for key in over)
    return len(measured) < MAX_ATTEMPTS or waited


def verdicts(
    measured: Sequence[Mapping[str, float]], budget: ServingBudget, notes: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Return a verdict per limit of the budget.

    Args:
        measured: The figures of each attempt.
        budget: The limits.
        notes: What else explains a figure, by its name in the budget.
    """
    limits, best = asdict(budget), best_of_attempts(measured)
    attempts = f", the best of {len(measured)} attempts" if len(measured) > 1 else ""
    rows = []
    for key, (quantity, unit) in _QUANTITIES.items():
        passed = best[key] <= limits[key]
        reason = f"{quantity} {best[key]:.3g} {unit}{attempts}; the budget is {limits[key]:g} {unit}"
        if not passed and key in _PROCESSOR:
            least = min(attempt["load_average"] for attempt in measured)
            reason += (
                f" ({best[_PROCESSOR[key]]:.3g} {unit} of processor time; load average {least:.1f} on "
                f"{os.cpu_count()} processors)"
            )
        if notes.get(key):
            reason += f"; {notes[key]}"
        rows.append({"rule": f"{quantity} <= {limits[key]:g} {unit}", "passed": passed, "reason": reason})
    return rows


def best_of_attempts(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the smallest of each figure: other load on the machine can only make them worse."""
    return {key: min(attempt[key] for attempt in measured) for key in measured[0]}
