"""The distance of each column from what the served version learnt from.

DriftValidator compares spans; its report is read here. For a pipeline without spans the statistics of two runs are
compared here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benison.pipelines.facts import statistics
from benison.pipelines.facts.statistics import Column, Statistics

_LEVEL = 0.001  # of the label's test, see `benison.components.validate.drift_report`


@dataclass(frozen=True)
class ColumnDrift:
    """The drift of a column.

    Attributes:
        column: the name.
        distance: between the two distributions, 0 to 1.
        limit: its largest allowed value.
        before: the earlier distribution in a few figures.
        now: that of this span, or of this run.
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
        span: the earlier span; None if there was nothing to compare with, or the pipeline has no spans.
        version: the served version that was trained on it.
        why_not: why nothing was compared; '' if it was.
        columns: worst first.
        statistics: the folder of the earlier statistics; None if it is not known.
    """

    span: int | None
    version: int | None
    why_not: str
    columns: Sequence[ColumnDrift]
    statistics: Path | None

    def earlier(self) -> dict[str, Column]:
        """Return the earlier statistics of the span, or else of `train`, by column; empty if they no longer exist."""
        try:
            return {} if self.statistics is None else dict(next(iter(statistics.read(self.statistics).values())))
        except FileNotFoundError:
            return {}


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
    uri = baseline.get("uri")
    return Drift(
        baseline.get("span"),
        baseline.get("version"),
        baseline.get("why_not", ""),
        _worst_first(columns),
        Path(uri) if uri else None,
    )


def between(before: Statistics, now: Statistics, limit: float) -> list[ColumnDrift]:
    """Measure the drift of each column that is in both statistics and has the same kind, over all splits together.

    The distance is the Jensen-Shannon divergence (J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans.
    Inf. Theory 37, 1991) in bits. A missing value counts as a value.

    Args:
        before: the earlier statistics.
        now: those of this run.
        limit: the largest allowed distance.

    Returns:
        The columns, worst first.
    """
    from scipy.spatial.distance import jensenshannon

    columns = []
    for name in next(iter(now.values()), {}):
        sides = [[split[name] for split in side.values() if name in split] for side in (before, now)]
        kinds = {column.kind for side in sides for column in side}
        if not all(sides) or len(kinds) > 1 or not kinds <= _SHARES.keys():
            continue
        earlier, later = _SHARES[kinds.pop()](*sides)
        if not any(earlier) or not any(later):
            continue
        distance = float(jensenshannon(earlier, later, base=2)) ** 2
        distance = 0.0 if math.isnan(distance) else distance  # scipy's root of a rounding error below 0
        columns.append(ColumnDrift(name, distance, limit, _figures(sides[0]), _figures(sides[1]), distance > limit))
    return _worst_first(columns)


def _worst_first(columns: Iterable[ColumnDrift]) -> list[ColumnDrift]:
    return sorted(columns, key=lambda c: (not c.drifted, -c.distance / c.limit if c.limit else 0.0))


def _numbers(before: Sequence[Column], now: Sequence[Column]) -> tuple[list[float], list[float]]:
    """Return the rows between the ends of all buckets, and those without a value, of both sides."""
    ends = sorted({end for column in (*before, *now) for low, high, _ in column.bins for end in (low, high)})

    def rows(side: Sequence[Column]) -> list[float]:
        places = {end: number for number, end in enumerate(ends)}
        # A place for each end, for what lies between it and the next one, and for missing values.
        counts = [0.0] * (2 * len(ends) + 1)
        for column in side:
            counts[-1] += column.missing + column.not_numbers
            for low, high, number in column.bins:
                first, last = places[low], places[high]
                if not math.isfinite(high - low) or low == high:
                    counts[2 * first] += number
                    continue
                for place in range(first, last):  # a bucket's rows lie evenly in it
                    counts[2 * place + 1] += number * (ends[place + 1] - ends[place]) / (high - low)
        return counts

    return rows(before), rows(now)


def _texts(before: Sequence[Column], now: Sequence[Column]) -> tuple[list[float], list[float]]:
    """Return the rows of each text that both sides list, of all other texts, and without a value."""
    listed = [{text for column in side for text, _ in column.values} for side in (before, now)]
    complete = [all((column.unique or 0) <= len(column.values) for column in side) for side in (before, now)]
    # A text that an incomplete list lacks may have rows there.
    shown = [
        t for t in listed[0] | listed[1] if all(t in x or whole for x, whole in zip(listed, complete, strict=True))
    ]
    places = {text: number for number, text in enumerate(sorted(shown))}

    def rows(side: Sequence[Column]) -> list[float]:
        counts = [0.0] * (len(places) + 2)
        for column in side:
            for text, number in column.values:
                counts[places.get(text, -2)] += number
            listed_rows = sum(number for _, number in column.values)
            counts[-2] += max(column.rows - column.missing - listed_rows, 0.0)
            counts[-1] += column.missing
        return counts

    return rows(before), rows(now)


_SHARES: Mapping[str, Callable[..., tuple[list[float], list[float]]]] = {"number": _numbers, "text": _texts}


def _figures(side: Sequence[Column]) -> str:
    """Describe the distribution of a column over several splits in a few figures, as DriftValidator does."""
    rows = sum(column.rows - column.missing for column in side) or 1
    missing = sum(column.missing for column in side) / (sum(column.rows for column in side) or 1)
    told = f", {missing:.2%} missing" if missing else ""
    if side[0].kind == "number":
        mean = sum((column.mean or 0.0) * (column.rows - column.missing) for column in side) / rows
        low = min(column.low for column in side if column.low is not None)
        high = max(column.high for column in side if column.high is not None)
        return f"mean {mean:.6g}, {low:.6g} to {high:.6g}{told}"
    counts: dict[str, float] = {}
    for column in side:
        for text, number in column.values:
            counts[text] = counts.get(text, 0.0) + number
    top = sorted(counts, key=lambda text: (-counts[text], text))[:3]
    return ", ".join(f"{text} {counts[text] / rows:.0%}" for text in top) + told
