"""`benison doctor`: check what this machine can run."""

from __future__ import annotations

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root
from benison.pipelines.commands.output import console


def doctor(root: Root = DEFAULT_ROOT) -> None:
    """Check what this machine can run, and say what to do about the rest."""
    from rich.text import Text

    from benison.pipelines.reports.tables import DataTable
    from benison.pipelines.starting import doctor as examination

    report = examination.examine(root.absolute())
    table = DataTable("", "check", "found", "what to do")
    marks = {True: Text("ok", "green"), False: Text("no", "bold red"), None: Text()}
    for check in report.checks:
        table.add_row(marks[check.ok], check.name, check.value, check.advice)
    console().print(table)
    raise typer.Exit(1 if report.failed else 0)
