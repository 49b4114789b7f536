"""What the rules of a blessing say, and its form as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benison.serving.errors import DataError


@dataclass(frozen=True)
class Verdict:
    """What one rule says.

    Attributes:
        rule: Its name, such as `better_than_majority` or `accuracy >= 0.85`.
        passed: Whether the candidate may pass.
        value: The candidate's metric; None where it is undefined or was not needed.
        bound: What it was held against: the other model's metric, or the threshold.
        interval: Of the difference to that model, positive where the candidate is the better one.
        reason: One sentence with the figures.
    """

    rule: str
    passed: bool
    value: float | None
    bound: float | None
    interval: tuple[float, float] | None
    reason: str


@dataclass(frozen=True)
class BlessingReport:
    """The verdict of every rule, and whether all of them passed."""

    blessed: bool
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data for strict JSON: what is not a finite number becomes None."""
        return {"blessed": self.blessed, "verdicts": [_verdict_to_json(verdict) for verdict in self.verdicts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BlessingReport:
        """The blessing that `to_json` wrote.

        Raises:
            DataError: Not what `to_json` writes.
        """
        try:
            return cls(bool(data["blessed"]), tuple(_verdict_from_json(verdict) for verdict in data["verdicts"]))
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"not a blessing as `benison` writes it ({error!r}); run the pipeline again") from error


def _verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    interval = finite_interval_or_none(verdict.interval)
    return asdict(verdict) | {
        "value": finite_or_none(verdict.value),
        "bound": finite_or_none(verdict.bound),
        "interval": list(interval) if interval else None,
    }


def _verdict_from_json(data: Mapping[str, Any]) -> Verdict:
    interval = data["interval"]
    return Verdict(**{**data, "interval": None if interval is None else (float(interval[0]), float(interval[1]))})


def finite_or_none(number: float | None) -> float | None:
    """The number; None where strict JSON has none for it."""
    return number if number is not None and math.isfinite(number) else None


def finite_interval_or_none(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The interval; None where an end is not finite."""
    return (interval[0], interval[1]) if interval is not None and all(map(math.isfinite, interval)) else None


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """A verdict as a node's log has it: `passed` or `REFUSED`, the rule and the reason."""
    return f"{'passed ' if verdict['passed'] else 'REFUSED'} {verdict['rule']} - {verdict['reason']}"
