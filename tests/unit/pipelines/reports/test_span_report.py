"""`benison span list` shows the three columns of each span that drifted most."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

from rich.console import Console

from benison.pipelines.data import span_changes
from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.reports import span_report
from tests.unit.pipelines.data.killed_span_changes import pipeline


def test_a_span_is_shown_with_its_three_worst_columns(tmp_path: Path) -> None:
    config = pipeline(tmp_path)
    (tmp_path / "may.csv").write_text("t,amount,late\n1,2.5,yes\n2,3.5,no\n")
    span_changes.add(config, tmp_path, [tmp_path / "may.csv"])
    features = {
        "calm": {"distance": 0.01, "threshold": 0.1},
        "amount": {"distance": 0.2, "threshold": 0.1},
        "near": {"distance": 0.09, "threshold": 0.1},
        "late": {"distance": 0.7, "threshold": 0.5, "p": 1e-40},
    }
    (tmp_path / "drift").mkdir()
    (tmp_path / "drift" / "drift.json").write_text(json.dumps({"baseline": {"span": 1}, "features": features}))
    folder = tmp_path / "runs" / "p-1"
    folder.mkdir(parents=True)
    outputs = {"drift": [{"uri": str(tmp_path / "drift"), "type": "DriftReport", "properties": {}}]}
    node = NodeRun("DriftValidator", "DriftValidator", "", "complete", time.time() + 1, 1.0, outputs=outputs)
    Run("p-1", "p", folder, time.time(), outcome="failed", nodes=[node], window=[1]).save()
    console = Console(file=io.StringIO(), width=300)
    console.print(span_report.table(config, tmp_path))
    assert isinstance(console.file, io.StringIO)
    (row,) = console.file.getvalue().splitlines()[1:]
    assert "from span 1: amount 0.200 of 0.1, late 0.700 of 0.5 (p = 1e-40), near 0.090 of 0.1 " in row
    assert "calm" not in row
