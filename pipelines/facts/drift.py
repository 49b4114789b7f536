"""Read DriftValidator's report: how far each column is from what the served version learnt from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benison.pipelines.facts.statistics import FILE, Column, read_file

_LEVEL = 0.001  # of the label's test, see `benison.components.validate.drift_report`


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of a column.

    Attributes:
        column: the name.
        distance: between the two distributions, 0 to 1.
        limit: its largest allowed value.
        before: the earlier distribution in a few figures.
        now: that of this span.
        drifted: the distance is above its limit and, where there was a test, chance does not explain it.
    """

    column: str
    distance: float
    limit: float
    before: str
    now: str
    drifted: bool


@dataclass(frozen=True)
class Drift:
    """The report.

    Attributes:
        span: the earlier span; None if there was nothing to compare with.
        version: the served version that was trained on it.
        why_not: why nothing was compared; '' if it was.
        columns: worst first.
        statistics: the earlier span's folder of statistics; None if it is not known.
    """

    span: int | None
    version: int | None
    why_not: str
    columns: Sequence[ColumnDrift]
    statistics: Path | None

    def earlier(self) -> dict[str, Column]:
        """Return the statistics of the earlier span, by column; empty if they no longer exist."""
        if self.statistics is None:
            return {}
        file = next(iter(self.statistics.glob(f"Split-*/{FILE}")), None)
        return read_file(file) if file else {}


def read(folder: Path) -> Drift:
    """Read an artifact of type DriftReport.

    Raises:
        OSError: the artifact no longer exists.
    """
    data = json.loads((folder / "drift.json").read_text(encoding="utf-8"))
    baseline = data["baseline"]
    columns = [
        ColumnDrift(
            name,
            f["distance"],
            f["threshold"],
            str(f["before"]),
            str(f["now"]),
            bool(f["distance"] > f["threshold"] and f.get("p", 0.0) < _LEVEL),
        )
        for name, f in data["features"].items()
    ]
    columns.sort(key=lambda c: (not c.drifted, -c.distance / c.limit if c.limit else 0.0))
    uri = baseline.get("uri")
    return Drift(
        baseline.get("span"),
        baseline.get("version"),
        baseline.get("why_not", ""),
        columns,
        Path(uri) if uri else None,
    )
