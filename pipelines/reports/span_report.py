"""The table of landed spans: anomalies, drift, and the versions that were trained on each span; removed spans."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components.validate import drift_report
from benison.pipelines.data import spans
from benison.pipelines.data.spans import RemovedSpan, Span
from benison.pipelines.records import runs
from benison.pipelines.reports import version_report
from benison.pipelines.reports.tables import DataTable
from benison.serving.errors import StoreError
from benison.serving.versions import local, remote
from benison.serving.versions.manifest import Manifest

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

WORST = 3  # columns of drift that are shown per span


def table(config: Pipeline, root: Path) -> DataTable:
    """Return a table with one row per span, oldest first."""
    nodes = _newest_nodes(runs.history(root), config.name)
    rows = DataTable("span", "rows", "sha256", "anomalies", "drift", "versions")
    known = known_versions(root / "serving" / config.name, None)
    for span in spans.all_spans(root, config.name):
        rows.add_row(
            str(span.number),
            str(span.rows),
            span.sha256[:12],
            _anomalies(_node_of(nodes, "AnomalyGate", span)),
            _drift(_node_of(nodes, "DriftValidator", span)),
            ", ".join(map(str, trained_on(known, span))) or "-",
        )
    return rows


def trained_on(known: KnownVersions, span: Span) -> list[int]:
    """Return the versions that were trained on a span, and not on data that took or had its place; ascending.

    Args:
        known: the versions to look at.
        span: the span, which may be a removed one.
    """
    return [
        number
        for number, manifest in sorted(known.manifests.items())
        if span.number in manifest.spans and manifest.span_hashes.get(str(span.number), span.sha256) == span.sha256
    ]


@dataclass(frozen=True)
class KnownVersions:
    """The versions that are asked what they were trained on.

    Attributes:
        manifests: the manifest of each whole version, here and in the object store.
        only_stored: the versions that are only in the store.
        unknown: one line for everything that could not be asked.
    """

    manifests: Mapping[int, Manifest]
    only_stored: frozenset[int] = frozenset()
    unknown: tuple[str, ...] = ()


def known_versions(base: Path, store: str | None) -> KnownVersions:
    """Return the versions here and in the object store.

    Args:
        base: ROOT/serving/NAME.
        store: `serving.store`; None for none.
    """
    here = {version.number: version.manifest for version in local.versions(base)}
    problems = {v.number: v.condition.problems[0] for v in local.all_versions(base) if v.condition.is_damaged}
    stored: dict[int, Manifest] = {}
    away = []
    if store:
        try:
            there = remote.inventory(store, base.name)
            stored = {version.number: version.manifest for version in there.versions}
            problems = {**there.damaged, **problems}
        except StoreError as error:
            away = [f"{error}; versions that are only there may have been trained on it too"]
    unknown = [f"version {n}: damaged: {line}" for n, line in sorted(problems.items()) if n not in {**here, **stored}]
    only_stored = frozenset(stored.keys() - here.keys() - problems.keys())
    return KnownVersions({**stored, **here}, only_stored, (*unknown, *away))


def removal(base: Path, record: RemovedSpan, known: KnownVersions) -> list[str]:
    """Describe a span that was removed or replaced: what happened, and which versions were trained on it.

    Args:
        base: ROOT/serving/NAME.
        record: the removed span.
        known: the versions that may have been trained on it.
    """
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.removed))
    why = f": {record.why}" if record.why else ""
    first = (
        f"span {record.span.number} ({record.span.rows} rows, sha256 {record.span.sha256[:12]}) was "
        f"{'replaced' if record.replaced else 'removed'} on {day}{why}; its files are in {record.path}"
    )
    labels = version_report.labels(base)
    marks = {
        n: ", ".join([*labels.get(n, []), *["only in the store"] * (n in known.only_stored)]) for n in known.manifests
    }
    numbers = [f"version {n} ({marks[n]})" if marks[n] else f"version {n}" for n in trained_on(known, record.span)]
    return [
        first,
        f"trained on it: {', '.join(numbers) or 'no version'}",
        *(f"not known: {line}" for line in known.unknown),
    ]


def _node_of(nodes: Mapping[tuple[str, int], runs.NodeRun], kind: str, span: Span) -> runs.NodeRun | None:
    """Return the last node that checked the span's data; None if it only checked data that was replaced."""
    node = nodes.get((kind, span.number))
    return node if node and (node.started or 0) >= span.landed else None


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
    report = _read(node, "drift", drift_report.FILE) if node else None
    if not report:
        return "not checked"
    if "why_not" in report["baseline"]:
        return f"- ({report['baseline']['why_not']})"
    worst = [f"{name} {drift_report.size(report['features'][name])}" for name in drift_report.worst(report, WORST)]
    return f"from span {report['baseline']['span']}: {', '.join(worst) or 'no column in common'}"


def _read(node: runs.NodeRun, key: str, file: str) -> Any:
    outputs = node.outputs.get(key)
    path = Path(outputs[0]["uri"], file) if outputs else None
    return json.loads(path.read_text()) if path and path.is_file() else None
