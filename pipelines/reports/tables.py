"""Tables of data in the style of all reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from benison.serving.visible_text import visible_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.style import StyleType


_ROUNDING = 1e-12  # anything smaller is a zero that was rounded


def figure(value: float | None, *others: float | None, sign: str = "") -> str:
    """Return a number with four decimals, or with significant digits where four decimals show none, or far too many.

    Args:
        value: the number; "-" stands for None.
        others: numbers beside it, which get the same form.
        sign: "+" to show a plus sign too.
    """
    if value is None:
        return "-"
    largest = max(abs(number) for number in (value, *others) if number is not None)
    form = ".6g" if largest >= 1e7 else ".2g" if _ROUNDING < largest < 0.0005 else ".4f"
    text = f"{value:{sign}{form}}"
    return text if float(text) else text.replace("-", sign)


class DataTable(Table):
    """A table whose strings are data, not markup: each is shown on one line, with control characters as escapes.

    Args:
        headers: the names of the columns; they may be data too, such as names of members.
    """

    def __init__(self, *headers: str) -> None:
        super().__init__(box=None, header_style="bold", pad_edge=False)
        for header in headers:
            self.add_column(Text(visible_line(header)))

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """Add a row.

        Args:
            cells: strings of data, or texts that are styled already.
            style: style of the whole row.
            end_section: draw a line below the row.
        """
        shown = (Text(visible_line(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*shown, style=style, end_section=end_section)
