"""The live view of a run: one line per node on a terminal, one line per finished node on a plain stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from benison.pipelines.records.runs import NodeRun, Run

_STYLES = {
    "waiting": "dim",
    "running": "bold cyan",
    "complete": "green",
    "cached": "blue",
    "skipped": "yellow",
    "not_blessed": "bold yellow",
    "not_pushed": "bold yellow",
    "failed": "bold red",
    "invalid": "bold red",
    "not_run": "dim",
}
_SHOWN = {"complete": "done", "not_blessed": "not blessed", "not_pushed": "not pushed", "not_run": "not run"}
_ENDED = frozenset(_STYLES) - {"waiting", "running"}


class Progress:
    """Draws a run while it runs; call it with the run whenever something changes.

    Args:
        console: where to draw.
        usual: seconds that each node took before, for an estimate of the time left.
        starting: the text to show before the run has nodes.
    """

    def __init__(
        self,
        console: Console,
        usual: Mapping[str, float],
        starting: str = "building the pipeline, importing TensorFlow …",
    ) -> None:
        self._console = console
        self._usual = usual
        self._starting = starting
        self._seen: dict[str, str] = {}
        self._run: Run | None = None
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=8, transient=True)
        self._spinner = Spinner("dots", style="cyan")

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
            if self._run is not None and self._run.nodes:
                self._console.print(self._table(self._run))

    def __call__(self, run: Run) -> None:
        """Show the changes since the last call."""
        self._run = run
        if self._console.is_terminal:
            return
        for node in run.nodes:
            if node.state in _ENDED and self._seen.get(node.id) != node.state:
                self._seen[node.id] = node.state
                took = f" {node.seconds:.1f} s" if node.seconds is not None else ""
                self._console.print(
                    f"[{len(self._seen)}/{len(run.nodes)}] {node.id} {_SHOWN.get(node.state, node.state)}{took}",
                    markup=False,
                    highlight=False,
                    soft_wrap=True,
                )

    def _draw(self) -> RenderableType:
        if self._run is None or not self._run.nodes:
            return Group(Text.assemble(("starting: ", "dim"), self._starting))
        return Group(self._table(self._run), self._footer(self._run))

    def _table(self, run: Run) -> Table:
        table = Table.grid(padding=(0, 2))
        for node in run.nodes:
            mark: RenderableType = self._spinner if node.state == "running" else Text(_MARKS.get(node.state, " "))
            style = _STYLES[node.state]
            table.add_row(
                mark, Text(node.id, style), Text(_SHOWN.get(node.state, node.state), style), Text(_took(node), "dim")
            )
        return table

    def _footer(self, run: Run) -> Text:
        done = sum(node.state in _ENDED for node in run.nodes)
        text = f"{done} of {len(run.nodes)} nodes, {_clock(time.time() - run.started)} elapsed"
        left = sum(
            max(self._usual.get(n.id, 0.0) - (time.time() - n.started if n.started else 0.0), 0.0)
            for n in run.nodes
            if n.state not in _ENDED
        )
        return Text(text + (f", about {_clock(left)} left" if self._usual and left >= 1 else ""), "dim")


_MARKS = {
    "complete": "✓",
    "cached": "=",
    "skipped": "-",
    "not_blessed": "!",
    "not_pushed": "!",
    "failed": "✗",
    "invalid": "✗",
}


def _took(node: NodeRun) -> str:
    if node.seconds is not None:
        return f"{node.seconds:.1f} s"
    return _clock(time.time() - node.started) if node.started else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
