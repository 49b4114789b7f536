"""Read the anomalies of the data, with example rows where AnomalyGate found them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Anomaly:
    """An anomaly.

    Attributes:
        column: the column; '' for the whole data.
        kind: such as new_column, type or drift.
        severity: stop, warn or ignore; '' if no gate decided.
        text: expected and actual values.
        count: number of rows with it; None if it is not one of single rows.
        rows: number of all rows; None likewise.
        examples: some of these rows, as text with file, line and value.
    """

    column: str
    kind: str
    severity: str
    text: str
    count: int | None = None
    rows: int | None = None
    examples: Sequence[str] = ()


def read_verdict(folder: Path) -> list[Anomaly]:
    """Read AnomalyGate's artifact of type DataVerdict, the worst severity first."""
    anomalies = [_anomaly(entry) for entry in json.loads((folder / "verdict.json").read_text(encoding="utf-8"))]
    order = ("stop", "warn", "ignore")
    return sorted(anomalies, key=lambda a: order.index(a.severity) if a.severity in order else len(order))


def _anomaly(entry: dict[str, Any]) -> Anomaly:
    rows = entry.get("rows") or {}
    return Anomaly(
        entry["column"],
        entry["kind"],
        entry["severity"],
        entry["text"],
        rows.get("count"),
        rows.get("rows"),
        tuple(str(example) for example in rows.get("examples", ())),
    )


def read_validation(folder: Path) -> list[Anomaly]:
    """Read ExampleValidator's artifact of type ExampleAnomalies, each anomaly once for all splits."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    first: dict[tuple[str, str], Anomaly] = {}
    files = sorted(folder.glob("Split-*/SchemaDiff.pb"))
    if not files:
        raise FileNotFoundError(f"no anomalies in {folder}")
    for file in files:
        message = anomalies_pb2.Anomalies()
        message.ParseFromString(file.read_bytes())
        for reason in message.dataset_anomaly_info.reason:
            first.setdefault(("", reason.description), Anomaly("", "other", "", reason.description))
        for key, info in sorted(message.anomaly_info.items()):
            column = ".".join(info.path.step) or key
            for reason in info.reason:
                kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type).lower().replace("_", " ")
                first.setdefault((column, kind), Anomaly(column, kind, "", reason.description))
    return list(first.values())
