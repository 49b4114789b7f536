"""`benison reproduce`: make a version again from what is recorded, and compare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root
from benison.pipelines.commands.output import console
from benison.pipelines.commands.versions import Number, pushed_base


def reproduce(
    name: Name,
    number: Number,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="ROOT of the second run, which stays; default: a folder in ROOT that is removed if all is equal.",
        ),
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Make a version again from its recorded config, code, data and seed, and compare what both runs made.

    The second run has a ROOT of its own: nothing is pushed to this one, and nobody is notified. Exit code 0 if
    examples, statistics, transform, weights and metrics are equal, 1 if something differs, is gone or has changed.
    """
    from benison.pipelines import reproduction
    from benison.pipelines.quiet import quieten
    from benison.pipelines.records import runs
    from benison.pipelines.reports import report
    from benison.pipelines.reports.progress import Progress
    from benison.pipelines.reports.tables import DataTable
    from benison.pipelines.running import termination
    from benison.serving.errors import UsageError
    from benison.serving.files import patterns

    termination.interrupt_on_signals()
    base = pushed_base(name, root)
    root = root.absolute()
    recorded = reproduction.find(root, base.name, number)
    for line in recorded.other_versions:
        print(f"note: {line}; the results may differ for this reason")
    target = into.absolute() if into else root / "reproduced" / f"{base.name}-{recorded.version.number}"
    patterns.check_root(target)
    if into is None:
        shutil.rmtree(target, ignore_errors=True)  # of a reproduction that differed, or was killed
    elif target.exists() and any(target.iterdir()):
        raise UsageError(f"--into {into}: is not empty; expected a new folder")

    screen = console()
    with Progress(screen, runs.usual_seconds(root, base.name)) as progress:
        again = reproduction.make_again(root, recorded, target, progress)
    quieten()
    table = DataTable("", "", f"version {recorded.version.number}", "again")
    rows = reproduction.compare(recorded, again)
    for row in rows:
        table.add_row({True: "", False: "*", None: "?"}[row.is_equal], row.name, row.before, row.now)
    screen.print(table)
    if again.failed_nodes:
        report.show(again, screen, target)
    differing = [row.name for row in rows if row.is_equal is False]
    unknown = [row.name for row in rows if row.is_equal is None]
    if unknown:
        print(f"not compared, because one of the two is gone: {', '.join(unknown)}")
    if differing or again.failed_nodes:
        print(f"different: {', '.join(differing) or 'the second run failed'}; the second run is in {target}")
        raise typer.Exit(1)
    print(f"equal: {len(rows) - len(unknown)} of {len(rows)} compared")
    if into is None:
        shutil.rmtree(target, ignore_errors=True)
