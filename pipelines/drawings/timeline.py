"""Draw where the time of a run went, node by node."""

from __future__ import annotations

from collections.abc import Sequence

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Folded, Part, Table
from benison.pipelines.drawings.marks import color_by, names, quantity, rows_height
from benison.pipelines.drawings.numbers import seconds
from benison.pipelines.facts.timeline import Step

_COLORS = {
    "complete": theme.ACCENT,
    "cached": "var(--series-0)",
    "not_blessed": theme.WARN,
    "not_pushed": theme.WARN,
    "failed": theme.BAD,
    "invalid": theme.BAD,
    "running": theme.MUTED,
}
_MARKS = {
    "failed": "bad",
    "invalid": "bad",
    "not_blessed": "warn",
    "not_pushed": "warn",
    "cached": "muted",
    "skipped": "muted",
    "not_run": "muted",
}


def timeline(steps: Sequence[Step]) -> list[Part]:
    """Draw the nodes over time (a Gantt chart), and a table of them."""
    ran = [s for s in steps if s.start is not None and (s.seconds or 0) > 0]
    parts: list[Part] = [gantt(ran)] if ran else []
    rows = [
        [
            s.node,
            Cell(s.state.replace("_", " "), mark=_MARKS.get(s.state, "")),
            Cell("-" if s.start is None else f"{s.start:.1f}", _sort(s.start)),
            Cell("-" if s.seconds is None else f"{s.seconds:.1f}", _sort(s.seconds)),
            Cell("-" if s.processor_s is None else f"{s.processor_s:.1f}", _sort(s.processor_s)),
            Cell("-" if s.memory_mb is None else f"{s.memory_mb:.0f}", _sort(s.memory_mb)),
            s.reason or "-",
        ]
        for s in steps
    ]
    headers = ["node", "state", "start (s)", "time (s)", "processor (s)", "memory (MB)", "reason"]
    table = Table("Nodes", headers, rows, most=200)
    return [*parts, Folded("The nodes as a table", [table])] if ran else [table]


def _sort(value: float | None) -> float:
    return float("-inf") if value is None else value


def gantt(steps: Sequence[Step]) -> Chart:
    """Draw nodes that ran, in the order of their start."""
    rows = [
        {
            "node": s.node,
            "start": s.start,
            "end": (s.start or 0) + (s.seconds or 0),
            "state": s.state,
            "text": f"{seconds(s.seconds)}{', cached' if s.state == 'cached' else ''}",
        }
        for s in steps
    ]
    order = [s.node for s in steps]
    states = dict.fromkeys(s.state for s in steps)
    colors = {state: _COLORS.get(state, theme.MUTED) for state in states}
    end = max(row["end"] for row in rows)  # type: ignore[type-var]
    spec = {
        "data": {"values": rows},
        "encoding": {"y": names("node", order)},
        "layer": [
            {
                "mark": {"type": "bar", "height": 12, "cornerRadius": 3, "minBandSize": 2},
                "encoding": {
                    "x": quantity("start", "seconds since the start of the run", scale={"domain": [0, end * 1.12]}),  # type: ignore[operator]
                    "x2": {"field": "end"},
                    "color": color_by("state", colors),
                    "tooltip": [{"field": "node"}, {"field": "state"}, {"field": "text", "title": "time"}],
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 10, "color": theme.MUTED},
                "encoding": {"x": quantity("end", "seconds since the start of the run"), "text": {"field": "text"}},
            },
        ],
    }
    slowest = max(steps, key=lambda s: s.seconds or 0)
    text = f"{len(steps)} nodes; the slowest is {slowest.node} with {seconds(slowest.seconds)}."
    return Chart("Time line of the nodes", text, spec, height=rows_height(len(steps), 21))
