"""Drawings: a chart of Vega-Lite with a title and a text alternative, tables that can be sorted, and HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from benison.serving.markup import Markup, element, joined
from benison.serving.visible_text import visible_line

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: one line above it.
        text: what it shows, for readers who do not see it.
        spec: of Vega-Lite, without size, title and theme; its data is inline.
        note: a line below it; '' for none.
        height: of the plot without its axes, in pixels.
        small: it may stand beside others.
    """

    title: str
    text: str
    spec: dict[str, Any]
    note: str = ""
    height: int = 240
    small: bool = False

    def vega_lite(self) -> dict[str, Any]:
        """Return the complete spec; it takes the width of its place."""
        return {"$schema": SCHEMA, "width": "container", "height": self.height, **self.spec}

    def html(self) -> Markup:
        """Return the chart's place with its spec; the script of the page draws it when it comes into view."""
        height = f"min-height:{self.height + 60}px"
        return element(
            "figure",
            element("figcaption", visible_line(self.title)),
            element(
                "div", class_="chart", role="img", aria_label=visible_line(f"{self.title}. {self.text}"), style=height
            ),
            element("script", Markup(as_json(self.vega_lite())), type="application/json"),
            element("p", prose(self.note), class_="note") if self.note else None,
            class_="small" if self.small else None,
        )


def prose(text: str) -> Markup:
    """Return a sentence as HTML; what it has between backticks is code."""
    parts = visible_line(text).split("`")
    if len(parts) % 2 == 0:  # a backtick of a stranger
        return joined("`".join(parts))
    return joined(*(element("code", part) if number % 2 else part for number, part in enumerate(parts)))


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown; strangers may have written it.
        sort: the number to sort by; None sorts by the text.
        mark: a class of the style sheet, such as good, bad, warn, muted or strong; '' for none.
        bar: a share from 0 to 1, drawn behind the text; None for none.
        link: the address that the text links to; '' for none.
    """

    text: str
    sort: float | None = None
    mark: str = ""
    bar: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A table; a click on a header sorts it. Columns without anything in them are left out.

    Attributes:
        title: its caption.
        headers: names of the columns.
        rows: cells; texts and numbers are cells, too, and None is an empty one.
        note: a line below it; '' for none.
        most: further rows are folded.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    most: int = 30

    def html(self) -> Markup:
        """Return the table in a region that can be scrolled by keyboard."""
        cells = [[_cell(cell) for cell in row] for row in self.rows]
        shown = [i for i in range(len(self.headers)) if i == 0 or any(row[i].text not in _EMPTY for row in cells)]
        headers, rows = [self.headers[i] for i in shown], [[row[i] for i in shown] for row in cells]
        numeric = {i for i in range(len(headers)) if rows and all(row[i].sort is not None for row in rows)}
        head = [
            element(
                "th",
                element("button", visible_line(name), type="button"),
                scope="col",
                class_="number" if i in numeric else None,
            )
            for i, name in enumerate(headers)
        ]
        body = [
            element("tr", [_td(cell, i, i in numeric) for i, cell in enumerate(row)], class_=_fold(n, self.most))
            for n, row in enumerate(rows)
        ]
        more = len(rows) - self.most
        return element(
            "div",
            element(
                "div",
                element(
                    "table",
                    element("caption", visible_line(self.title)),
                    element("thead", element("tr", head)),
                    element("tbody", body),
                ),
                class_="scroll",
                role="region",
                tabindex="0",
                aria_label=f"{visible_line(self.title)}, table",
            ),
            element("button", f"Show {more} more rows", type="button", class_="more") if more > 0 else None,
            element("p", prose(self.note), class_="note") if self.note else None,
            class_="table",
        )


_EMPTY = ("", "-")
_LONG = 40  # characters; such a cell gets a width, so that no row becomes tall


def _fold(number: int, most: int) -> str | None:
    return "folded" if number >= most else None


def _cell(cell: object) -> Cell:
    if isinstance(cell, Cell):
        return cell
    if cell is None:
        return Cell("-", float("-inf"))
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        return Cell(str(cell), float(cell))
    return Cell(str(cell))


def _td(cell: Cell, column: int, number: bool) -> Markup:
    long = "long" if len(cell.text) > _LONG and not number else ""
    classes = " ".join(
        filter(None, ["number" if number else "", long, cell.mark, "bar" if cell.bar is not None else ""])
    )
    share = None if cell.bar is None else f"--share:{min(max(cell.bar, 0.0), 1.0) * 100:.1f}%"
    sort = None if cell.sort is None else f"{cell.sort:.12g}".replace("inf", "Infinity")
    text: str = visible_line(cell.text)
    if cell.link:
        text = element("a", text, href=cell.link)
    if column == 0:
        return element("th", text, scope="row", class_=classes or None, data_sort=sort, style=share)
    return element("td", text, class_=classes or None, data_sort=sort, style=share)


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: strangers may have written it.
        mark: a class of the style sheet; '' for none.
    """

    text: str
    mark: str = ""

    def html(self) -> Markup:
        """Return the paragraph."""
        return element("p", prose(self.text), class_=self.mark or None)


@dataclass(frozen=True)
class Grid:
    """Drawings beside each other where there is room."""

    parts: Sequence[Part]

    def html(self) -> Markup:
        """Return the drawings in a grid."""
        return element("div", [part.html() for part in self.parts], class_="grid")


@dataclass(frozen=True)
class Folded:
    """Drawings that a reader opens."""

    title: str
    parts: Sequence[Part]

    def html(self) -> Markup:
        """Return a closed `details`."""
        return element("details", element("summary", visible_line(self.title)), [part.html() for part in self.parts])


@dataclass(frozen=True)
class Code:
    """A command or a text in a fixed font."""

    text: str

    def html(self) -> Markup:
        """Return the text in a region that can be scrolled by keyboard."""
        return element("pre", element("code", visible_line(self.text)), tabindex="0")


@dataclass(frozen=True)
class Html:
    """HTML that is made of `element` already."""

    markup: Markup

    def html(self) -> Markup:
        """Return it."""
        return self.markup


Part: TypeAlias = "Chart | Table | Text | Grid | Folded | Code | Html"


def html_of(parts: Sequence[Part]) -> Markup:
    """Return parts one after another."""
    return joined([part.html() for part in parts])


def as_json(data: Any) -> str:
    """Return data as JSON for a script element: no text in it can end the element."""
    text = json.dumps(_plain(data), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


# Vega looks texts up in JavaScript objects, which have these names already; a word joiner before one is not seen.
_OF_ALL_OBJECTS = frozenset(
    {
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
    }
    | {"valueOf", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"}
)


def _plain(data: Any) -> Any:
    if isinstance(data, str):
        text = visible_line(data)  # Vega-Lite puts some texts into expressions, where a line break is a mistake
        return f"\u2060{text}" if text in _OF_ALL_OBJECTS else text
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {visible_line(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    return data.item() if hasattr(data, "item") else data
