"""The verdicts of a blessing's rules, and their JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benison.serving.errors import DataError


@dataclass(frozen=True)
class Verdict:
    """The verdict of one rule.

    Attributes:
        rule: name of the rule, such as `better_than_majority` or `accuracy >= 0.85`.
        passed: the candidate passes the rule.
        value: metric of the candidate; None if it is undefined or was not needed.
        bound: the value it was compared with: the metric of another model, or the threshold.
        interval: interval of the difference from that model, positive if the candidate is better.
        reason: one sentence with the figures.
        too_few_rows: the rule cannot judge, because the split has too few rows; then it is not passed.
        rows_needed: how many rows of `test` would do, if that is known; see `benison.components.evaluate.power`.
        warning: the rule is not passed, but it only warns.
    """

    rule: str
    passed: bool
    value: float | None
    bound: float | None
    interval: tuple[float, float] | None
    reason: str
    too_few_rows: bool = False
    rows_needed: int | None = None
    warning: bool = False


@dataclass(frozen=True)
class BlessingReport:
    """The verdicts of all rules; the candidate is blessed if all of them pass, except those that only warn."""

    blessed: bool
    verdicts: tuple[Verdict, ...]

    def to_json(self) -> dict[str, Any]:
        """Return data for strict JSON; numbers that are not finite become None."""
        return {"blessed": self.blessed, "verdicts": [_verdict_to_json(verdict) for verdict in self.verdicts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BlessingReport:
        """Read the result of `to_json`.

        Raises:
            DataError: the data is not a result of `to_json`.
        """
        try:
            return cls(bool(data["blessed"]), tuple(_verdict_from_json(verdict) for verdict in data["verdicts"]))
        except (LookupError, TypeError, ValueError) as error:
            raise DataError(f"not a blessing written by benison ({error!r}); run the pipeline again") from error


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
    """Return the number, or None if it is not finite, since strict JSON cannot represent it."""
    return number if number is not None and math.isfinite(number) else None


def finite_interval_or_none(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the interval, or None if an end is not finite."""
    return (interval[0], interval[1]) if interval is not None and all(map(math.isfinite, interval)) else None


def is_refusal(verdict: Mapping[str, Any]) -> bool:
    """Return True if a verdict, in the form of `to_json`, refuses the candidate."""
    return not verdict["passed"] and not verdict.get("warning")


def verdict_line(verdict: Mapping[str, Any]) -> str:
    """Format a verdict for the log of a node: `passed`, `REFUSED` or `WARNING`, the rule and the reason."""
    mark = "passed " if verdict["passed"] else "REFUSED" if is_refusal(verdict) else "WARNING"
    return f"{mark} {verdict['rule']} - {verdict['reason']}"
