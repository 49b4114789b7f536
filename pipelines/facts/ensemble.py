"""Read an EnsembleBuilder's report: the combiner, the weight and the gain of each member, and their correlations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = "ensemble_report.json"


@dataclass(frozen=True)
class Contribution:
    """The contribution of a member.

    Attributes:
        member: the name.
        weight: in the combiner; None if it has no weights.
        gain: loss out of fold without the member, less the loss with it; None if it was not measured.
        low: lower end of the gain's 95 % interval.
        high: upper end.
        kept: the member is in the ensemble.
        why: the reason, if it was dropped.
    """

    member: str
    weight: float | None
    gain: float | None
    low: float | None
    high: float | None
    kept: bool
    why: str


@dataclass(frozen=True)
class EnsembleReport:
    """The report.

    Attributes:
        combiner: its kind.
        rows: number of rows of the fit.
        split: `blend` or `out_of_fold`.
        contributions: one per member, dropped ones too.
        correlations: of the members' errors, by member and member; None where it is undefined.
        temperature: of the calibration; None without one.
    """

    combiner: str
    rows: int
    split: str
    contributions: Sequence[Contribution]
    correlations: Mapping[str, Mapping[str, float | None]]
    temperature: float | None


def read(folder: Path) -> EnsembleReport | None:
    """Read the report in an artifact of type Model; None for the model of a member."""
    file = folder / FILE
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    return EnsembleReport(
        data["combiner"],
        data["rows"],
        data.get("split", "blend"),
        [Contribution(**entry) for entry in data["contributions"]],
        data["correlations"],
        (data.get("calibration") or {}).get("temperature"),
    )
