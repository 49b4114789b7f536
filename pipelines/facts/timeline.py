"""Order the nodes of a run by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benison.pipelines.records.runs import Run


@dataclass(frozen=True)
class Step:
    """A node in time.

    Attributes:
        node: its id.
        state: see `benison.pipelines.records.runs.NodeRun`.
        start: seconds since the start of the run; None if it did not start.
        seconds: how long it took; None if it did not end.
        processor_s: processor time; None if it was not measured.
        memory_mb: peak memory in MB; None likewise.
        reason: why it failed, refused or was skipped, or the run whose outputs it took.
        log: the file with its output.
    """

    node: str
    state: str
    start: float | None
    seconds: float | None
    processor_s: float | None
    memory_mb: float | None
    reason: str
    log: str


def of_run(run: Run) -> Sequence[Step]:
    """Return the nodes, those that started first, in the order of their start."""
    steps = [
        Step(
            node.id,
            node.state,
            None if node.started is None else max(0.0, node.started - run.started),
            node.seconds,
            node.profile.get("processor_s"),
            node.profile.get("memory_mb"),
            node.reason or (f"taken from run {node.origin}" if node.origin else ""),
            node.log,
        )
        for node in run.nodes
    ]
    return sorted(steps, key=lambda step: float("inf") if step.start is None else step.start)
