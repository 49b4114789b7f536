"""The lines that a run prints while it runs."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.reports.progress import Progress


def test_each_finished_node_has_the_next_number_also_if_several_end_at_once() -> None:
    nodes = [NodeRun(name, name, "log") for name in ("Blessing", "ServingValidator", "Pusher")]
    run = Run("birds-1", "birds", Path("birds-1"), 0.0, nodes=nodes)
    out = io.StringIO()
    with Progress(Console(file=out, width=80), {}) as progress:
        nodes[0].state = "complete"
        progress(run)
        nodes[1].state = nodes[2].state = "skipped"
        progress(run)
        progress(run)
    assert out.getvalue().splitlines() == [
        "[1/3] Blessing done",
        "[2/3] ServingValidator skipped",
        "[3/3] Pusher skipped",
    ]
