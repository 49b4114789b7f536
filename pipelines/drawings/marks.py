"""Marks that several drawings share: dots with intervals, lines of models, colours by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benison.pipelines.drawings import theme


def rows_height(rows: int, step: int = 26) -> int:
    """Return the height of a chart with one row per name, in pixels."""
    return max(rows, 1) * step


_LEGEND = 40  # characters


def color_by(field: str, colors: Mapping[str, str], *, legend: bool = True) -> dict[str, Any]:
    """Return the encoding of a colour by name."""
    scale = {"domain": list(colors), "range": list(colors.values())}
    # In one line where the names are short, else in columns that fit on a phone.
    fits = sum(len(str(name)) + 4 for name in colors) <= _LEGEND
    shown = {"columns": len(colors) if fits else 3} if legend else None
    return {"field": field, "type": "nominal", "scale": scale, "legend": shown}


def quantity(field: str, title: str, **more: Any) -> dict[str, Any]:
    """Return the encoding of a number."""
    return {"field": field, "type": "quantitative", "title": title, **more}


_ROOM = 1.25  # enough for six digits on a phone


def room_for_text(values: Sequence[float | None]) -> dict[str, Any]:
    """Return the scale of bars from 0 on with room for a text at the end of the longest; empty for negative numbers."""
    known = [value for value in values if value is not None]
    return {"domainMax": max(known) * _ROOM} if known and min(known) >= 0 and max(known) > 0 else {}


def names(field: str, order: Sequence[str], title: str | None = None) -> dict[str, Any]:
    """Return the encoding of names in an order."""
    # Not `sort`, which becomes an expression that holds the names.
    return {"field": field, "type": "nominal", "scale": {"domain": list(order)}, "sort": None, "title": title}


def dots_with_intervals(
    rows: Sequence[Mapping[str, Any]], order: Sequence[str], title: str, colors: Mapping[str, str], by: str = "name"
) -> dict[str, Any]:
    """Return a spec: per row a dot at `value` on a line from `low` to `high`, beside a line at 0.

    Args:
        rows: `name`, `value`, `low`, `high` and the field of the colour.
        order: the names from top to bottom.
        title: of the axis, with its unit.
        colors: by value of the field.
        by: the field of the colour.
    """
    y = names("name", order)
    color = color_by(by, colors, legend=by != "name")
    tooltip = [
        {"field": "name", "title": " "},
        {"field": "value", "format": ".4~g", "title": "gain"},
        {"field": "low", "format": ".4~g", "title": "from"},
        {"field": "high", "format": ".4~g", "title": "to"},
    ]
    return {
        "data": {"values": list(rows)},
        "encoding": {"y": y, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "rule", "color": theme.MUTED, "strokeDash": [3, 3]},
                "encoding": {
                    "x": {"datum": 0},
                    "y": {"value": 0},
                    "y2": {"value": "height"},
                    "tooltip": {"value": None},
                },
            },
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "strokeWidth": 2.5, "strokeCap": "round"},
                "encoding": {
                    "x": quantity("low", title, scale={"zero": False}),
                    "x2": {"field": "high"},
                    "color": color,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 75, "opacity": 1},
                "encoding": {"x": quantity("value", title, scale={"zero": False}), "color": color},
            },
        ],
    }


def model_lines(
    rows: Sequence[Mapping[str, Any]], x: Mapping[str, Any], y: Mapping[str, Any], colors: Mapping[str, str]
) -> dict[str, Any]:
    """Return a layer of one line per `model`; the ensemble is thicker, the served version is dashed."""
    return {
        "data": {"values": list(rows)},
        "mark": {"type": "line", "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            "order": {"field": "at", "type": "quantitative"},
            "color": color_by("model", colors),
            "strokeWidth": {
                "condition": {"test": f"datum.model === '{theme.ENSEMBLE}'", "value": 3},
                "value": 1.6,
            },
            "strokeDash": {
                "condition": {"test": f"datum.model === '{theme.SERVED}'", "value": [5, 4]},
                "value": [1, 0],
            },
        },
    }
