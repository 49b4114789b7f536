"""Tables of data in the style of all reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from benison.serving.visible_text import visible_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.style import StyleType


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
