"""Draw models: rules, metrics, gains, slices, and what each member adds to the ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Grid, Part, Table
from benison.pipelines.drawings.marks import color_by, dots_with_intervals, names, quantity, room_for_text, rows_height
from benison.pipelines.drawings.numbers import count, figure, with_interval
from benison.pipelines.facts.blessing import ENSEMBLE, Blessing, Rule
from benison.pipelines.facts.ensemble import EnsembleReport

_MOST_SLICES = 25  # in a chart; the table has all
_ABOVE_0 = "Above 0 the ensemble is better."


def rules(blessing: Blessing) -> list[Part]:
    """Draw the rules: a table of all, and a chart of gains or bounds per metric."""
    marks = {"passed": "good", "warning": "warn", "refused": "bad"}
    rows = [
        [
            Cell(rule.state, mark=marks[rule.state]),
            rule.name,
            Cell(figure(rule.value), _number(rule.value)),
            Cell(figure(rule.bound), _number(rule.bound)),
            Cell(with_interval(rule.gain, rule.low, rule.high), _number(rule.gain)),
            rule.reason,
        ]
        for rule in blessing.rules
    ]
    table = Table(
        "Verdict of each rule",
        ["verdict", "rule", "ensemble", "bound or other model", "gain (interval)", "reason"],
        rows,
    )
    compared, bounded = ([r for r in blessing.rules if (r.gain is not None) is is_gain] for is_gain in (True, False))
    charts: list[Part] = [
        _gains_of_rules(metric, [r for r in compared if r.metric == metric])
        for metric in dict.fromkeys(rule.metric for rule in compared)
    ]
    bounds = [r for r in bounded if r.value is not None and r.bound is not None]
    charts += [
        _bounds(metric, [r for r in bounds if r.metric == metric])
        for metric in dict.fromkeys(rule.metric for rule in bounds)
    ]
    return [table, Grid(charts)] if charts else [table]


def _number(value: float | None) -> float:
    return float("-inf") if value is None else value


def _states(found: Sequence[Rule]) -> dict[str, str]:
    return {state: color for state, color in theme.STATES.items() if any(rule.state == state for rule in found)}


def _gains_of_rules(metric: str, found: Sequence[Rule]) -> Chart:
    rows = [{"name": r.name, "value": r.gain, "low": r.low, "high": r.high, "verdict": r.state} for r in found]
    text = "; ".join(f"{r.name}: {with_interval(r.gain, r.low, r.high)}, {r.state}" for r in found)
    spec = dots_with_intervals(rows, [r.name for r in found], f"gain in {metric}", _states(found), "verdict")
    return Chart(f"Rules that compare {metric}", text, spec, note=_ABOVE_0, height=rows_height(len(found)))


def _bounds(metric: str, found: Sequence[Rule]) -> Chart:
    rows = [{"name": r.name, "value": r.value, "bound": r.bound, "verdict": r.state} for r in found]
    text = "; ".join(f"{r.name}: {figure(r.value)}, {r.state}" for r in found)
    y = names("name", [r.name for r in found])
    spec = {
        "data": {"values": rows},
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "bar", "height": 10},
                "encoding": {"x": quantity("value", metric), "color": color_by("verdict", _states(found))},
            },
            {
                "mark": {"type": "tick", "thickness": 2.5, "height": 18, "color": theme.TEXT},
                "encoding": {"x": quantity("bound", metric)},
            },
        ],
    }
    return Chart(
        f"Rules with a limit of {metric}", text, spec, note="The line is the limit.", height=rows_height(len(found))
    )


def metrics(blessing: Blessing) -> Table:
    """Draw the metrics of all models on `test`, the ensemble and the served version last."""
    columns = list(blessing.metrics[ENSEMBLE])
    rows = []
    for model in blessing.models:
        values = blessing.metrics[model]
        rows.append(
            [
                Cell(model, mark="strong" if model == ENSEMBLE else ""),
                *(Cell(figure(values.get(name)), _number(values.get(name))) for name in columns),
            ]
        )
    note = ""
    if blessing.positive:
        limit = "" if blessing.threshold is None else f", decided from a probability of {blessing.threshold:.4g} on"
        note = f"Positive class: {blessing.positive}{limit}."
    if blessing.weight:
        weight = blessing.weight
        note += (
            f" Weighted by {weight['column']}: {count(weight['rows'])} rows that tell as much as "
            f"{weight['effective_rows']:.1f} of equal weight."
        )
    return Table("Metrics on test", ["model", *columns], rows, note=note.strip())


def gains(blessing: Blessing) -> Chart | None:
    """Draw the gain of the ensemble over each other model, with its interval; None if nothing was compared."""
    found = [(m, blessing.gains[m]) for m in blessing.models if blessing.gains.get(m, {}).get("gain") is not None]
    if not found:
        return None
    rows = [{"name": model, "value": g["gain"], "low": g["low"], "high": g["high"]} for model, g in found]
    text = "; ".join(f"over {model} {with_interval(g['gain'], g['low'], g['high'])}" for model, g in found)
    colors = theme.model_colors(blessing.models)
    spec = dots_with_intervals(rows, [model for model, _ in found], f"gain in {blessing.metric}", colors)
    title = f"Gain of the ensemble over each model, {blessing.metric} on test"
    return Chart(title, text, spec, note=_ABOVE_0, height=rows_height(len(found)))


def metric_bars(blessing: Blessing) -> Chart:
    """Draw the pipeline's metric of each model."""
    values = {model: blessing.metrics[model].get(blessing.metric) for model in blessing.models}
    text = "; ".join(f"{model} {figure(value)}" for model, value in values.items())
    spec = {
        "data": {"values": [{"model": model, "value": value} for model, value in values.items()]},
        "encoding": {
            "y": names("model", blessing.models),
            "x": quantity("value", f"{blessing.metric} on test", scale=room_for_text(list(values.values()))),
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": 14},
                "encoding": {"color": color_by("model", theme.model_colors(blessing.models), legend=False)},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5},
                "encoding": {"text": {"field": "value", "format": ".4f"}},
            },
        ],
    }
    better = "more" if blessing.greater_is_better else "less"
    return Chart(f"{blessing.metric} on test ({better} is better)", text, spec, height=rows_height(len(values)))


def slices(blessing: Blessing) -> list[Part]:
    """Draw the metric by slice, worst first; no drawings if the pipeline has no slices."""
    if not blessing.slices:
        return []
    metric = blessing.metric
    shown = [cut for cut in blessing.slices if cut.values.get(ENSEMBLE) is not None][:_MOST_SLICES]
    rows = [
        {"slice": cut.name, "model": model, "value": cut.values.get(model), "rows": cut.rows}
        for cut in shown
        for model in blessing.models
        if cut.values.get(model) is not None
    ]
    colors = theme.model_colors(blessing.models)
    spec = {
        "data": {"values": rows},
        "mark": {"type": "point", "filled": True},
        "encoding": {
            "y": names("slice", [cut.name for cut in shown]),
            "x": quantity("value", f"{metric} on test", scale={"zero": False}),
            "color": color_by("model", colors),
            "size": {"condition": {"test": f"datum.model === '{ENSEMBLE}'", "value": 95}, "value": 40},
            "opacity": {"condition": {"test": f"datum.model === '{ENSEMBLE}'", "value": 1}, "value": 0.65},
            "tooltip": [
                {"field": "slice"},
                {"field": "model"},
                {"field": "value", "format": ".4f"},
                {"field": "rows"},
            ],
        },
    }
    worst = f"Worst: {shown[0].name} with {figure(shown[0].values[ENSEMBLE])}." if shown else ""
    title = f"{metric} by slice, worst first"
    table = Table(
        f"{metric} of all slices",
        ["slice", "rows", *blessing.models, *(["gain over served (interval)"] if _has_served(blessing) else [])],
        [
            [
                cut.name,
                Cell(count(cut.rows), cut.rows),
                *(
                    Cell(figure(cut.values.get(m)), _number(cut.values.get(m)), "strong" if m == ENSEMBLE else "")
                    for m in blessing.models
                ),
                *([_gain_cell(cut.gains.get("served", {}))] if _has_served(blessing) else []),
            ]
            for cut in blessing.slices
        ],
        most=15,
    )
    left_out = len(blessing.slices) - len(shown)
    note = f"{left_out} more slices are in the table." if left_out else ""
    return [*([Chart(title, worst, spec, note=note, height=rows_height(len(shown), 20))] if shown else []), table]


def _has_served(blessing: Blessing) -> bool:
    return "served" in blessing.models


def _gain_cell(gain: dict | object) -> Cell:
    values = gain if isinstance(gain, dict) else {}
    middle = values.get("gain")
    high, low = values.get("high"), values.get("low")
    mark = "bad" if high is not None and high < 0 else "good" if low is not None and low > 0 else ""
    return Cell(with_interval(middle, low, high), _number(middle), mark)


def contributions(report: EnsembleReport, blessing: Blessing | None) -> list[Part]:
    """Draw what each member adds: its weight, its gain out of fold, and the ensemble's value without it."""
    members = [c.member for c in report.contributions]
    colors = theme.model_colors(members)
    parts: list[Part] = []
    weighted = [c for c in report.contributions if c.weight is not None and c.kept]
    if weighted:
        spec = {
            "data": {"values": [{"member": c.member, "weight": c.weight} for c in weighted]},
            "encoding": {
                "y": names("member", [c.member for c in weighted]),
                "x": quantity(
                    "weight", f"weight in the {report.combiner}", scale=room_for_text([c.weight for c in weighted])
                ),
            },
            "layer": [
                {
                    "mark": {"type": "bar", "height": 14},
                    "encoding": {"color": color_by("member", colors, legend=False)},
                },
                {
                    "mark": {"type": "text", "align": "left", "dx": 5},
                    "encoding": {"text": {"field": "weight", "format": ".3f"}},
                },
            ],
        }
        text = "; ".join(f"{c.member} {c.weight:.3f}" for c in weighted if c.weight is not None)
        parts.append(Chart("Weights of the members", text, spec, height=rows_height(len(weighted))))
    measured = [c for c in report.contributions if c.gain is not None]
    if measured:
        rows = [{"name": c.member, "value": c.gain, "low": c.low, "high": c.high} for c in measured]
        where = "of blend" if report.split == "blend" else "out of fold"
        spec = dots_with_intervals(
            rows, [c.member for c in measured], "loss without the member, less the loss with it", colors
        )
        text = "; ".join(f"{c.member} {with_interval(c.gain, c.low, c.high)}" for c in measured)
        parts.append(
            Chart(
                f"Loss that each member saves, {count(report.rows)} rows {where}",
                text,
                spec,
                height=rows_height(len(measured)),
            )
        )
    if blessing is not None:
        alone = {m: w for m, w in blessing.without.items() if w.get("gain") is not None}
        if alone:
            rows = [{"name": m, "value": w["gain"], "low": w["low"], "high": w["high"]} for m, w in alone.items()]
            text = "; ".join(f"{m} {with_interval(w['gain'], w['low'], w['high'])}" for m, w in alone.items())
            axis = f"gain in {blessing.metric} over the ensemble without it"
            spec = dots_with_intervals(rows, list(alone), axis, colors)
            parts.append(
                Chart(f"What each member adds, {blessing.metric} on test", text, spec, height=rows_height(len(alone)))
            )
    return parts


def correlations(report: EnsembleReport) -> Chart | None:
    """Draw the correlations between the members' errors; None for one member."""
    members = list(report.correlations)
    if len(members) < 2:
        return None
    rows = [
        {"a": a, "b": b, "value": value, "size": abs(value)}
        for a, row in report.correlations.items()
        for b, value in row.items()
        if value is not None
    ]
    pairs = sorted(
        (
            (value, a, b)
            for a, row in report.correlations.items()
            for b, value in row.items()
            if value is not None and a < b
        ),
        reverse=True,
    )
    text = "; ".join(f"{a} and {b} {value:.2f}" for value, a, b in pairs)
    spec = {
        "data": {"values": rows},
        "encoding": {
            "x": {**names("a", members), "axis": {"labelAngle": -30, "title": None}},
            "y": names("b", members),
        },
        "layer": [
            {
                "mark": {"type": "rect", "cornerRadius": 3, "color": theme.ACCENT},
                "encoding": {
                    "opacity": {
                        "field": "size",
                        "type": "quantitative",
                        "scale": {"domain": [0, 1], "range": [0.03, 0.5]},
                        "legend": None,
                    }
                },
            },
            {"mark": {"type": "text"}, "encoding": {"text": {"field": "value", "format": ".2f"}}},
        ],
    }
    note = "Members with different errors help each other most."
    return Chart("Correlation of the members' errors", text, spec, note=note, height=rows_height(len(members), 30))


def dropped(report: EnsembleReport) -> Table | None:
    """Draw the members that are not in the ensemble; None if all are."""
    rows = [[c.member, c.why] for c in report.contributions if not c.kept]
    return Table("Members that were dropped", ["member", "reason"], rows) if rows else None
