"""`benison ui` and `benison compare`: runs in the browser, and two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root
from benison.pipelines.commands.output import console


def ui(
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="The port on this machine; 0: a free one.")
    ] = 8600,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Serve the index, reports and comparisons of the runs on this machine, with the progress of runs; Ctrl-C ends it.

    It only reads, and only browsers on this machine can open it.
    """
    from benison.pipelines.running import termination
    from benison.pipelines.ui import server
    from benison.serving.errors import UsageError

    root = root.absolute()
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; `benison run` makes it, and --root names another one")
    termination.interrupt_on_signals()
    server.serve(root, port, lambda address: print(f"{root}: {address} (Ctrl-C ends it)", flush=True))


def compare(
    before: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, or a pipeline's name for its last run; the earlier one.")
    ],
    now: Annotated[str, typer.Argument(metavar="RUN", help="The later one.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write one HTML file instead of tables.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Compare two runs: parameters, data, metrics with intervals, slices and times."""
    from benison.pipelines.reports import compare as comparing
    from benison.serving.errors import UsageError
    from benison.serving.files import atomic_file

    if output is not None and output.suffix not in (".html", ".htm"):
        raise UsageError(f"--output {output}: expected a name that ends with .html")
    root = root.absolute()
    comparison = comparing.Comparison(root, comparing.find(root, before), comparing.find(root, now))
    if output is not None:
        atomic_file.write(output, comparing.html(comparison))
        print(f"written to {output}")
    if json:
        print(comparing.as_json(comparison))
    elif output is None:
        comparing.show(comparison, console())
