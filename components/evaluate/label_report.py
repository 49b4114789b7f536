"""LabelCheck's report, which Blessing reads too: a version names the suspicious columns that it was blessed with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx import types

from benison.components.evaluate.verdicts import BlessingReport, Verdict

FILE = "label.json"


class LabelReport(types.Artifact):
    """`label.json`: rows without a label, how well each column alone predicts the label, and suspicious columns."""

    TYPE_NAME = "LabelReport"


def load(folder: Path) -> dict[str, Any]:
    """Read a report.

    Args:
        folder: LabelCheck's output.
    """
    return dict(json.loads((folder / FILE).read_text()))


def suspicions(report: Mapping[str, Any], severity: str) -> dict[str, str]:
    """Return a sentence for each suspicious column of a report that has a severity, by column."""
    return {
        name: f"column {name!r} alone predicts the label ({report['columns'][name]:.4f} of 1): is it known before the "
        "label?"
        for name in report["suspicious"]
        if report["severity"][name] == severity
    }


def accepted(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a verdict, as JSON data, for each suspicious column that the YAML accepts."""
    verdicts = (
        Verdict(f"suspicious column {name}", True, report["columns"][name], None, None, f"{sentence} (accepted)")
        for name, sentence in suspicions(report, "warn").items()
    )
    return list(BlessingReport(True, tuple(verdicts)).to_json()["verdicts"])
