"""DriftValidator's report `drift.json`: which columns drifted, and how far.

A feature of the report has `distance` and `threshold`, `before` and `now` (the two distributions in a few figures), and
`shares` if it drifted. The label also has `p` and `measure`, see `label_shift`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FILE = "drift.json"
LEVEL = 0.001  # of the label's test: how often it takes chance for a change


def drifted(feature: Mapping[str, Any]) -> bool:
    """Return True if a distance is above its limit and, where there was a test, chance does not explain it."""
    return bool(feature["distance"] > feature["threshold"] and feature.get("p", 0.0) < LEVEL)


def worst(report: Mapping[str, Any], count: int) -> list[str]:
    """Return the names of the columns that are nearest to their limit, or furthest above it, worst first."""
    features = report["features"]
    ranked = sorted(features, key=lambda n: (drifted(features[n]), _share_of_limit(features[n])), reverse=True)
    return ranked[:count]


def size(feature: Mapping[str, Any]) -> str:
    """Return a distance beside its limit, such as `0.686 of 0.5 (p = 1e-40)`."""
    test = f" (p = {feature['p']:.1g})" if "p" in feature else ""
    return f"{feature['distance']:.3f} of {feature['threshold']:g}{test}"


def description(feature: Mapping[str, Any], span: int) -> str:
    """Return in words how a column that drifted differs from an earlier span."""
    figures = f"before: {feature['before']}, now: {feature['now']}"
    if "p" not in feature:
        return (
            f"its distribution differs from span {span} by {feature['distance']:.3f} (Jensen-Shannon divergence), the "
            f"limit is {feature['threshold']:g}; {figures}"
        )
    return (
        f"the label differs from span {span} by {feature['distance']:.3f} ({feature['measure']}, p = "
        f"{feature['p']:.1g}), the limit is {feature['threshold']:g}; {figures}"
    )


def _share_of_limit(feature: Mapping[str, Any]) -> float:
    return float(feature["distance"] / feature["threshold"]) if feature["threshold"] else float("inf")
