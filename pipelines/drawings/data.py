"""Draw data: distributions by split, missing values, drift, anomalies, the schema, and which columns matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benison.pipelines.drawings import theme
from benison.pipelines.drawings.drawing import Cell, Chart, Folded, Grid, Part, Table
from benison.pipelines.drawings.marks import color_by, names, quantity, rows_height
from benison.pipelines.drawings.numbers import count, percent, short
from benison.pipelines.facts import statistics as facts
from benison.pipelines.facts.anomalies import Anomaly
from benison.pipelines.facts.drift import Drift
from benison.pipelines.facts.importances import LabelAlone, Permutation
from benison.pipelines.facts.schema import SchemaColumn

_FIRST, _MOST = 12, 200  # columns whose distributions are shown at once, and at all


def columns(statistics: facts.Statistics) -> Table:
    """Draw one row per column: what it holds in the first split, and its missing values in each split."""
    splits = list(statistics)
    first = statistics[splits[0]]
    rows = []
    for name, column in first.items():
        of_splits = [statistics[split].get(name) for split in splits]
        missing = [None if c is None else c.missing_share for c in of_splits]
        rows.append(
            [
                name,
                column.kind,
                _number_cell(column.mean),
                _number_cell(column.std),
                _number_cell(column.low),
                _number_cell(column.median),
                _number_cell(column.high),
                Cell("-" if column.unique is None else count(column.unique), _sort(column.unique)),
                Cell(column.values[0][0][:60] if column.values else "-", mark="" if column.values else "muted"),
                *(
                    Cell(
                        "-" if share is None else percent(share),
                        _sort(share),
                        "muted" if not share else "",
                        share or None,
                    )
                    for share in missing
                ),
            ]
        )
    headers = [
        "column",
        "type",
        "mean",
        "std",
        "min",
        "median",
        "max",
        "unique",
        "top value",
        *(f"missing {split}" for split in splits),
    ]
    rows_of = ", ".join(f"{split} {count(next(iter(c.values())).rows)}" for split, c in statistics.items() if c)
    return Table(f"Columns of {splits[0]}", headers, rows, note=f"Rows: {rows_of}.", most=20)


def _number_cell(value: float | None) -> Cell:
    return Cell(short(value), _sort(value))


def _sort(value: float | None) -> float:
    return float("-inf") if value is None else float(value)


def distributions(
    statistics: facts.Statistics, first: Sequence[str] = (), earlier: Mapping[str, facts.Column] | None = None
) -> list[Part]:
    """Draw the distribution of each column in all splits.

    Args:
        statistics: by split and column.
        first: columns to begin with, such as the label and those that drifted.
        earlier: the columns of the data that the served version learnt from.
    """
    known = list(next(iter(statistics.values())))
    order = [*dict.fromkeys(name for name in first if name in known)]
    order += [name for name in known if name not in set(order)]
    charts = []
    for name in order[:_MOST]:
        of_splits = {split: c[name] for split, c in statistics.items() if name in c and c[name].rows}
        if earlier and name in earlier:
            of_splits[theme.EARLIER] = earlier[name]
        chart = distribution(of_splits)
        if chart is not None:
            charts.append(chart)
    parts: list[Part] = [Grid(charts[:_FIRST])] if charts else []
    if len(charts) > _FIRST:
        parts.append(Folded(f"Distributions of {len(charts) - _FIRST} more columns", [Grid(charts[_FIRST:])]))
    return parts


def distribution(of_splits: Mapping[str, facts.Column]) -> Chart | None:
    """Draw a column's distribution in several splits; None if it has neither numbers nor texts."""
    spec = _histogram_spec(of_splits) or _texts_spec(of_splits)
    if spec is None:
        return None
    name = next(iter(of_splits.values())).name
    text = "; ".join(f"{split}: {_summary(column)}" for split, column in of_splits.items())
    return Chart(name, text, spec["spec"], note=spec["note"], height=spec["height"], small=True)


_SHARE = quantity("y", "share of the rows", axis={"format": "%", "tickCount": 4})


def _histogram_spec(of_splits: Mapping[str, facts.Column]) -> dict[str, Any] | None:
    found = facts.histograms(of_splits)
    if not found:
        return None
    rows: list[dict[str, Any]] = []
    for split, buckets in found.items():
        rows += [{"split": split, "x": low, "y": round(y, 6)} for low, _, y in buckets]
        rows.append({"split": split, "x": buckets[-1][1], "y": round(buckets[-1][2], 6)})
    largest = max(abs(row["x"]) for row in rows)
    plain = {"format": ".6~g"} if largest < 1e5 else {}  # no 2,007 for a year
    name = next(iter(of_splits.values())).name
    spec = {
        "data": {"values": rows},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.8},
        "encoding": {
            "x": quantity("x", name, scale={"zero": False, "nice": False}, axis={"tickCount": 5, **plain}),
            "y": {**_SHARE, "title": "share of the rows in a bucket"},
            "color": color_by("split", theme.split_colors(list(found))),
            "tooltip": [{"field": "split"}, {"field": "x", "title": "from"}, {"field": "y", "format": ".2%"}],
        },
    }
    most = max(len(buckets) for buckets in found.values())
    note = f"Approximate: {most} buckets from each split's minimum to its maximum, estimated from quantiles."
    return {"spec": spec, "note": note, "height": 140}


def _texts_spec(of_splits: Mapping[str, facts.Column]) -> dict[str, Any] | None:
    found = facts.distribution(of_splits)
    if found is None:
        return None
    rows = [
        {"split": split, "x": text[:60], "y": round(y, 6)}
        for split, shares in found.shares.items()
        for text, y in zip(found.places, shares, strict=True)
    ]
    spec = {
        "data": {"values": rows},
        "mark": {"type": "bar", "cornerRadius": 1},
        "encoding": {
            "y": {**names("x", [text[:60] for text in found.places]), "axis": {"labelLimit": 110}},
            "x": _SHARE,
            "yOffset": {"field": "split", "sort": None, "scale": {"domain": list(found.shares)}},
            "color": color_by("split", theme.split_colors(list(found.shares))),
            # A fixed title: Vega-Lite makes an expression of it, which a column's name could break.
            "tooltip": [{"field": "x", "title": "value"}, {"field": "split"}, {"field": "y", "format": ".2%"}],
        },
    }
    height = max(120, 9 * len(found.places) * len(found.shares))
    return {"spec": spec, "note": "", "height": min(height, 340)}


def _summary(column: facts.Column) -> str:
    missing = f", {percent(column.missing_share)} missing" if column.missing else ""
    if column.kind == "number":
        return f"mean {short(column.mean)}, {short(column.low)} to {short(column.high)}{missing}"
    top = ", ".join(f"{text[:40]} {percent(rows / max(column.rows, 1))}" for text, rows in column.values[:3])
    return f"{count(column.unique or 0)} different, {top}{missing}"


def drift(report: Drift, most: int = 20) -> list[Part]:
    """Draw the distance of each column from the earlier data, in units of its limit."""
    if not report.columns:
        return []
    shown = report.columns[:most]
    rows = [
        {"column": c.column, "share": c.distance / c.limit if c.limit else 0.0, "drifted": c.drifted} for c in shown
    ]
    spec = {
        "data": {"values": rows},
        "layer": [
            {
                "mark": {"type": "bar", "height": 11},
                "encoding": {
                    "y": names("column", [c.column for c in shown]),
                    "x": quantity("share", "distance, in units of its limit"),
                    "color": color_by("drifted", {True: theme.BAD, False: theme.ACCENT}, legend=False),  # type: ignore[dict-item]
                },
            },
            {
                "mark": {"type": "rule", "color": theme.TEXT, "strokeDash": [3, 3]},
                "encoding": {"x": {"datum": 1}},
            },
        ],
    }
    what = "the data that" if report.span is None else f"span {report.span}, which"
    title = f"Drift against {what} version {report.version} learnt from"
    text = "; ".join(f"{c.column} {c.distance:.3f} of {c.limit:g}" for c in shown[:5])
    table = Table(
        "Drift by column",
        ["column", "distance", "limit", "before", "now"],
        [
            [
                Cell(c.column, mark="strong" if c.drifted else ""),
                Cell(f"{c.distance:.4f}", c.distance, "bad" if c.drifted else ""),
                Cell(f"{c.limit:g}", c.limit),
                c.before,
                c.now,
            ]
            for c in report.columns
        ],
        most=10,
    )
    return [Chart(title, text, spec, height=rows_height(len(shown), 22)), table]


def anomalies(found: Sequence[Anomaly]) -> Table:
    """Draw anomalies, worst first, with example rows."""
    marks = {"stop": "bad", "warn": "warn", "ignore": "muted"}
    rows = []
    for anomaly in found:
        share = "-"
        if anomaly.count is not None and anomaly.rows:
            share = f"{count(anomaly.count)} ({percent(anomaly.count / anomaly.rows)})"
        rows.append(
            [
                Cell(anomaly.severity or "-", mark=marks.get(anomaly.severity, "")),
                anomaly.column or "(whole data)",
                anomaly.kind.replace("_", " "),
                anomaly.text,
                Cell(share, _sort(anomaly.count)),
                "; ".join(anomaly.examples) or "-",
            ]
        )
    return Table("Anomalies", ["severity", "column", "kind", "what is wrong", "rows", "for example"], rows)


def schema(found: Sequence[SchemaColumn]) -> Table:
    """Draw a schema: type, presence and domain of each column."""
    rows = [[c.name, c.type, "yes" if c.required else "no", c.domain[:300] or "any"] for c in found]
    return Table("Schema", ["column", "type", "required", "domain"], rows)


def label_alone(found: LabelAlone, most: int = 20) -> Chart | None:
    """Draw how well each column alone predicts the label; None if no column was measured."""
    if not found.columns:
        return None
    shown = list(found.columns)[:most]
    scale = {"domain": [found.nothing, 1], "clamp": True}
    rows = [{"column": c, "value": found.columns[c], "suspicious": c in found.suspicious} for c in shown]
    spec = {
        "data": {"values": rows},
        "mark": {"type": "bar", "height": 10},
        "encoding": {
            "y": names("column", shown),
            "x": quantity("value", f"of 1: {found.nothing:g} tells nothing, 1 tells all", scale=scale),
            "color": color_by("suspicious", {True: theme.BAD, False: theme.ACCENT}, legend=False),  # type: ignore[dict-item]
        },
    }
    text = "; ".join(f"{column} {found.columns[column]:.3f}" for column in shown[:5])
    return Chart(f"How well each column alone predicts {found.label}", text, spec, height=rows_height(len(shown), 20))


def importances(shares: Mapping[str, float], member: str, color: str = theme.ACCENT, most: int = 15) -> Chart | None:
    """Draw the columns that a member of trees looks at; None if it looks at nothing."""
    shown = [(c, s) for c, s in sorted(shares.items(), key=lambda e: -e[1]) if s > 0][:most]
    if not shown:
        return None
    spec = {
        "data": {"values": [{"column": c, "share": s} for c, s in shown]},
        "mark": {"type": "bar", "height": 10, "color": color},
        "encoding": {
            "y": names("column", [c for c, _ in shown]),
            "x": quantity("share", "share of the importance", axis={"format": "%", "tickCount": 5}),
        },
    }
    text = "; ".join(f"{c} {percent(s)}" for c, s in shown[:5])
    return Chart(f"Columns that {member} looks at", text, spec, height=rows_height(len(shown), 20), small=True)


def permutation(found: Permutation, models: Sequence[str], most: int = 15) -> Chart | None:
    """Draw what the metric loses if a column is shuffled, with intervals, for each model; None without columns."""
    order = list(next(iter(found.models.values()), {}))[:most]
    if not order:
        return None
    colors = {m: c for m, c in theme.model_colors(models).items() if m in found.models}
    rows = [
        {"column": c, "model": m, "value": losses[c].lost, "low": losses[c].low, "high": losses[c].high}
        for m, losses in found.models.items()
        for c in order
        if c in losses
    ]
    axis = f"{found.metric} lost if the column is shuffled"
    color, offset = color_by("model", colors), {"field": "model", "sort": None, "scale": {"domain": list(colors)}}
    y = names("column", order)
    spec = {
        "data": {"values": rows},
        "encoding": {"y": y, "yOffset": offset},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": quantity("low", axis), "x2": {"field": "high"}, "color": color},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 45, "opacity": 1},
                "encoding": {"x": quantity("value", axis), "color": color},
            },
        ],
    }
    first = found.models.get(theme.ENSEMBLE) or next(iter(found.models.values()))
    text = "; ".join(f"{c} {first[c].lost:.4g}" for c in order[:5] if c in first)
    shuffles = "1 shuffle" if found.repeats == 1 else f"{found.repeats} shuffles"
    note = f"{count(found.rows)} rows of test, {shuffles} per column."
    return Chart(
        "Which columns matter", text, spec, note=note, height=rows_height(len(order), max(20, 9 * len(colors)))
    )
