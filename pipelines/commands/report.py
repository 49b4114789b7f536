"""The command that shows the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, served_name

if TYPE_CHECKING:
    from benison.pipelines.records.runs import Run


def report(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME|RUN", help="A pipeline, for its last run, or the id of a run; default: the last."),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the report to this file, too.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Write it again from what is on disk now.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Print the path of a run's report, one HTML file; write it if it does not exist."""
    from benison.pipelines.reports import run_page
    from benison.serving.files import atomic_file

    root = root.absolute()
    run = _find(name, root)
    page = run.folder / run_page.FILE
    if again or not page.is_file() or run.outcome == "running":
        run_page.write(run, root)
    if output is not None:
        atomic_file.write(output, page.read_text(encoding="utf-8"))
    print(page if output is None else output)
    if open_:
        import webbrowser

        webbrowser.open((page if output is None else output).absolute().as_uri())


def _find(name: str | None, root: Path) -> Run:
    """Return a run by its id, or the last one of a pipeline.

    Raises:
        UsageError: there is none.
    """
    from benison.pipelines.records import runs
    from benison.serving.close_names import did_you_mean
    from benison.serving.errors import UsageError

    history = runs.history(root)
    if not history:
        raise UsageError(f"no runs in {root}")
    if name is None:
        return history[-1]
    by_id = next((run for run in history if run.id == name), None)
    if by_id is not None:
        return by_id
    pipeline = served_name(name)
    of_pipeline = [run for run in history if run.pipeline == pipeline]
    if not of_pipeline:
        known = [run.id for run in history] + list(dict.fromkeys(run.pipeline for run in history))
        raise UsageError(f"{name}: no such run or pipeline in {root}{did_you_mean(name, known)}")
    return of_pipeline[-1]
