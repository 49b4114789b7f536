"""`benison run --profile`: the longest node first, and what its time went to."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.reports import profiles


def test_each_node_has_its_phases_and_what_is_left(tmp_path: Path) -> None:
    phases = {"waiting": 2.0, "imports": 0.5, "code": 0.25, "lock": 3.0, "TFX's launcher": 0.75, "executor": 5.0}
    long = NodeRun("Trainer", "Trainer", "log", "complete", 0.0, 10.0)
    long.profile = {"phases": phases, "processor_s": 7.5, "memory_mb": 512.0}
    run = Run("r", "p", tmp_path, 0.0, 20.0, nodes=[NodeRun("Cached", "C", "log", "cached", 0.0, 0.0), long])
    run.phases = {"compiling": 1.5}
    screen = Console(file=io.StringIO(), width=300)
    profiles.show(run, screen)
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    rows = [line.split() for line in lines if line.strip()]
    assert rows[1] == ["Trainer", "12.0", "2.0", "0.5", "0.2", "3.0", "0.8", "5.0", "-", "0.5", "7.5", "512", "MB"]
    assert rows[2][0] == "Cached"
    assert ["compiling", "1.5"] in rows
