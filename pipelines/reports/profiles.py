"""Print where the time of a run went: by node and by phase, with processor time and peak memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benison.pipelines.reports.tables import DataTable

if TYPE_CHECKING:
    from rich.console import Console

    from benison.pipelines.records.runs import NodeRun, Run

_PHASES = ("waiting", "imports", "code", "lock", "TFX's launcher", "executor", "record")
_HINT = (
    "waiting: for a free worker; imports, code: of the worker before the node, cache key; lock: for nodes that run "
    "alone, or one that does; record: of what was read and written; other: start of the worker, of the node's process"
)


def show(run: Run, console: Console) -> None:
    """Print where the time of a run went."""
    nodes = [node for node in run.nodes if node.seconds is not None]
    table = DataTable("seconds", "total", *_PHASES, "other", "processor", "memory")
    for node in sorted(nodes, key=lambda node: -_total(node)):
        phases = node.profile.get("phases", {})
        known = [phases.get(phase, 0.0) for phase in _PHASES]
        other = _total(node) - sum(known)
        processor, memory = node.profile.get("processor_s"), node.profile.get("memory_mb")
        table.add_row(
            node.id,
            _seconds(_total(node)),
            *map(_seconds, known),
            _seconds(other),
            "-" if processor is None else f"{processor:.1f}",
            "-" if memory is None else f"{memory:.0f} MB",
        )
    console.print()
    console.print(table)
    console.print(_HINT, style="dim", highlight=False)
    runner = DataTable("seconds of the runner", "")
    for name, seconds in run.phases.items():
        runner.add_row(name, _seconds(seconds))
    console.print(runner)


def _total(node: NodeRun) -> float:
    """Return the seconds from the moment when the node could start."""
    return (node.seconds or 0.0) + float(node.profile.get("phases", {}).get("waiting", 0.0))


def _seconds(seconds: float) -> str:
    return "-" if abs(seconds) < 0.05 else f"{seconds:.1f}"
