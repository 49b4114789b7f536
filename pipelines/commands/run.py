"""`benison list`, `validate`, `run` and `runs`: pipelines, and what became of them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load, pairs, served_name


def list_() -> None:
    """The pipelines that can be run by name."""
    from benison.pipelines.config_file import available

    for entry in available():
        print(f"{entry.name:20} {entry.description}  ({entry.path})")


def validate(name: Name, set_: Sets = None) -> None:
    """Checks a config and the functions that it names, and runs nothing."""
    config = load(name, set_)
    members = ", ".join(config.ensemble.members)
    if config.data.source:
        data = f"data written by {config.data.source}"
    else:
        data = "data span by span" if config.spans else f"{len(config.files())} data file(s)"
    print(f"{name}: valid; {config.problem} on {config.label!r}, members {members}, {data}")


def run(
    name: Name,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "--param",
            metavar="key=value",
            help="Overrides a key of the YAML, or a field of the form; repeatable.",
        ),
    ] = None,
    root: Root = DEFAULT_ROOT,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node anew.")] = False,
    span: Annotated[
        str | None, typer.Option("--span", help="Of data with spans: 3, or 1-3; default: the newest `window`.")
    ] = None,
    on: Annotated[
        Literal["airflow"] | None,
        typer.Option("--on", help="Where it runs: on the Airflow of BENISON_AIRFLOW_URL; default: here."),
    ] = None,
) -> None:
    """Runs a pipeline: data in, a blessed ensemble pushed or the rule that refused it."""
    from rich.console import Console

    if on == "airflow":
        _on_airflow(name, set_, root.absolute(), no_cache, span)
    config = load(name, set_)
    from benison.pipelines.records import runs
    from benison.pipelines.reports import report
    from benison.pipelines.reports.progress import Progress
    from benison.pipelines.runner import LocalRunner

    root = root.absolute()
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who stops a container means what Ctrl-C means
    with Progress(console, runs.usual_seconds(root, config.name)) as progress:
        done = LocalRunner(root, cache=not no_cache, observer=progress).run_config(config, span=span)
    report.show(done, console, root)
    raise typer.Exit(report.EXIT_CODES[done.outcome])


def _on_airflow(name: str, sets: list[str] | None, root: Path, no_cache: bool, span: str | None) -> NoReturn:
    from rich.console import Console

    from benison.pipelines.airflow import api, triggered_run
    from benison.pipelines.reports import report
    from benison.pipelines.reports.progress import Progress

    given = pairs(sets) | ({"cache": "false"} if no_cache else {}) | ({"span": span} if span else {})
    console = Console()
    try:
        with Progress(console, {}, starting="waiting for Airflow …") as progress:
            done = triggered_run.run(api.configured(), served_name(name), given, progress)
    except KeyboardInterrupt:
        print("no longer followed; what was triggered goes on in Airflow", file=sys.stderr)
        raise typer.Exit(130) from None
    report.show(done, console, root)
    raise typer.Exit(report.EXIT_CODES[done.outcome])


def runs_(root: Root = DEFAULT_ROOT) -> None:
    """Earlier runs, newest last."""
    import time

    from rich.console import Console
    from rich.table import Table

    from benison.pipelines.records import runs

    found = runs.history(root.absolute())
    if not found:
        print(f"no runs in {root}")
        return
    table = Table(
        "run", "pipeline", "started", "seconds", "outcome", "why", box=None, header_style="bold", pad_edge=False
    )
    for one in found:
        why = next((f"{n.id}: {n.reason}" for n in one.nodes if n.state in ("failed", "invalid", "not_blessed")), "")
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.started))
        table.add_row(one.id, one.pipeline, started, f"{one.seconds or 0:.0f}", one.outcome, why)
    Console().print(table)
