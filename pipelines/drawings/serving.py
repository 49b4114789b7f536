"""Draw the trial on a model server: parity of the serving paths, and costs beside their budget."""

from __future__ import annotations

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Folded, Grid, Part, Table
from benison.pipelines.drawings.marks import color_by, names, quantity, rows_height
from benison.pipelines.drawings.numbers import count, figure
from benison.pipelines.facts.lite_model import LiteModel
from benison.pipelines.facts.serving_trial import TOLERANCE, ServingTrial


def trial(found: ServingTrial) -> list[Part]:
    """Draw parity, budget and the other checks."""
    beside: list[Part] = [*([parity(found)] if found.parity else []), *([budget(found)] if found.costs else [])]
    checks = sorted(found.checks, key=lambda check: check.passed)
    rows = [
        [Cell("passed" if c.passed else "refused", mark="good" if c.passed else "bad"), c.rule, c.reason]
        for c in checks
    ]
    table = Table("Checks on a model server", ["verdict", "check", "reason"], rows)
    refused = sum(not check.passed for check in checks)
    if refused:
        return [table, Grid(beside)]
    return [Grid(beside), Folded(f"All {len(checks)} checks on a model server passed", [table])]


def lite(found: LiteModel) -> list[Part]:
    """Draw the verdict on the TensorFlow Lite file, and what it loses."""
    mark = Cell("passed" if found.passed else "refused", mark="good" if found.passed else "warn")
    parts: list[Part] = [Table("TensorFlow Lite", ["verdict", "check", "reason"], [[mark, found.rule, found.text]])]
    if found.losses:
        columns = ["before", "after", "drop", "low", "high"]
        rows: list[list[Cell | str]] = [
            [f"{loss['count']} {loss['rows']}", *(Cell(figure(loss[key]), loss[key]) for key in columns)]
            for loss in found.losses
        ]
        size = f"{found.bytes:,} bytes" if found.bytes is not None else ""
        parts.append(Table(f"What the file loses ({size})", ["rows", "SavedModel", "file", *columns[2:]], rows))
    return parts


def parity(found: ServingTrial) -> Chart:
    """Draw the largest difference of each path from the training path."""
    smallest = 1e-9  # a difference of 0 has no place on a log scale
    rows = [
        {
            "path": p.path,
            "shown": max(p.difference if p.difference is not None else 1.0, smallest),
            "difference": "not finite" if p.difference is None else f"{p.difference:.1e}",
            "rows": p.rows,
            "agrees": p.difference is not None and p.difference <= TOLERANCE,
        }
        for p in found.parity
    ]
    spec = {
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 65, "opacity": 1},
                "encoding": {
                    "y": names("path", [p.path for p in found.parity]),
                    "x": quantity(
                        "shown",
                        "largest difference, of the answers' scale",
                        scale={"type": "log", "domainMin": smallest},
                        axis={"format": ".0e", "values": [10.0**e for e in range(-9, 3)]},
                    ),
                    "color": color_by("agrees", {True: theme.GOOD, False: theme.BAD}, legend=False),  # type: ignore[dict-item]
                    "tooltip": [{"field": "path"}, {"field": "difference"}, {"field": "rows"}],
                },
            },
            {
                "mark": {"type": "rule", "color": theme.TEXT, "strokeDash": [3, 3]},
                "encoding": {"x": {"datum": TOLERANCE}},
            },
        ],
    }
    rows_compared = max((p.rows for p in found.parity), default=0)
    worst = max((p.difference for p in found.parity if p.difference is not None), default=0.0)
    text = f"{len(found.parity)} paths, {count(rows_compared)} rows; the largest difference is {worst:.1e}."
    note = f"The dashed line is the tolerance, {TOLERANCE:g}. Up to {count(rows_compared)} rows."
    return Chart("Parity of the serving paths", text, spec, note=note, height=rows_height(len(rows), 20))


def budget(found: ServingTrial) -> Table:
    """Draw each cost beside its budget."""
    rows = [
        [
            cost.name,
            Cell(f"{cost.value:.3g} {cost.unit}", cost.value, "" if cost.value <= cost.budget else "bad"),
            Cell(f"{cost.budget:g} {cost.unit}", cost.budget),
            Cell(f"{cost.value / cost.budget:.0%}", cost.value / cost.budget, "", cost.value / cost.budget),
        ]
        for cost in found.costs
        if cost.budget
    ]
    return Table("Costs and budget", ["cost", "measured", "budget", "used"], rows)
