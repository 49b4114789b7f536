"""The table of landed spans: anomalies, drift, and the versions that were trained on each span."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from benison.pipelines.data import spans
from benison.pipelines.records import runs
from benison.serving.versions import local

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


def table(config: Pipeline, root: Path) -> Table:
    """Return a table with one row per span, oldest first."""
    nodes = _newest_nodes(runs.history(root), config.name)
    trained = {v.number: v.manifest.spans for v in local.versions(root / "serving" / config.name)}
    rows = Table(
        "span", "rows", "sha256", "anomalies", "drift", "versions", box=None, header_style="bold", pad_edge=False
    )
    for span in spans.all_spans(root, config.name):
        rows.add_row(
            str(span.number),
            str(span.rows),
            span.sha256[:12],
            escape(_anomalies(nodes.get(("AnomalyGate", span.number)))),
            escape(_drift(nodes.get(("DriftValidator", span.number)))),
            ", ".join(str(number) for number, on in trained.items() if span.number in on) or "-",
        )
    return rows


def _newest_nodes(history: list[runs.Run], pipeline: str) -> Mapping[tuple[str, int], runs.NodeRun]:
    """Return, by kind of node and span, the last node that checked the span."""
    newest = {}
    for run in history:
        for node in run.nodes if run.pipeline == pipeline else ():
            mark = node.id.partition("[")[2].rstrip("]")
            span = int(mark) if mark else (run.window[-1] if run.window else None)
            if span is not None and node.state in ("complete", "cached", "invalid"):
                newest[node.kind, span] = node
    return newest


def _anomalies(node: runs.NodeRun | None) -> str:
    if node is None:
        return "not checked"
    if node.state == "invalid":
        return f"stopped: {node.reason[:80]} …"
    verdict = _read(node, "verdict", "verdict.json")
    counts = Counter(anomaly["severity"] for anomaly in verdict or [])
    return ", ".join(f"{count} {severity}" for severity, count in sorted(counts.items())) or "none"


def _drift(node: runs.NodeRun | None) -> str:
    report = _read(node, "drift", "drift.json") if node else None
    if not report:
        return "not checked"
    if "why_not" in report["baseline"]:
        return f"- ({report['baseline']['why_not']})"
    name, most = max(report["features"].items(), key=lambda item: item[1]["distance"] / item[1]["threshold"])
    return f"{name} {most['distance']:.3f} of {most['threshold']:g}, from span {report['baseline']['span']}"


def _read(node: runs.NodeRun, key: str, file: str) -> Any:
    outputs = node.outputs.get(key)
    path = Path(outputs[0]["uri"], file) if outputs else None
    return json.loads(path.read_text()) if path and path.is_file() else None
