"""`benison list`, `validate`, `run` and `runs`: list, check and run pipelines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, ConfigOnly, Name, Root, Sets, load, pairs, served_name
from benison.pipelines.commands.output import console

if TYPE_CHECKING:
    from benison.pipelines.running.partial_run import Part


def list_() -> None:
    """List the pipelines that can be run by name."""
    from benison.pipelines.config_file import available

    for entry in available():
        print(f"{entry.name:20} {entry.description}  ({entry.path})")


def validate(
    name: Name,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
    config_only: ConfigOnly = False,
) -> None:
    """Check a config, import its functions and build its members; of the data, only first rows are read."""
    from benison.pipelines.code.code_reference import display_path
    from benison.pipelines.running import code_trial, termination

    termination.interrupt_on_signals()

    config = load(name, set_)
    if config_only:
        code_trial.refuse_missing_imports(config)
    else:
        code_trial.try_code(config, root.absolute())
    members = ", ".join(config.ensemble.members)
    if config.data.source:
        data = f"data written by {config.data.source}"
    elif config.spans:
        data = "data in spans"
    else:
        count = len(config.files())
        data = f"{count} data file{'' if count == 1 else 's'}"
    schema = "" if config.schema_path.is_file() else f", no schema yet ({display_path(config.schema_path)})"
    print(f"{name}: valid; {config.problem} on {config.label!r}, members {members}, {data}{schema}")


def run(
    name: Name,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "--param",
            metavar="KEY=VALUE",
            help="Override a key of the YAML, or a field of Airflow's form; repeatable.",
        ),
    ] = None,
    root: Root = DEFAULT_ROOT,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node, even if its result is cached.")] = False,
    span: Annotated[
        str | None,
        typer.Option(
            "--span", metavar="SPANS", help="The spans to use, such as 3 or 1-3; default: the newest `window`."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NODE", help="Run this node and all downstream again; take the rest from earlier runs."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NODE", help="Run this node and what it needs; nothing else.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="NODE", help="Run only this node again; take its inputs from earlier runs."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="RUN", help="Continue a run that failed or was interrupted, with its --set and --span."
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print where the time went, by node and by phase.")
    ] = False,
    on: Annotated[
        Literal["airflow"] | None,
        typer.Option("--on", help="Run on the Airflow of BENISON_AIRFLOW_URL; default: on this machine."),
    ] = None,
) -> None:
    """Run a pipeline: push a blessed ensemble, or print the rule that refused it."""
    from benison.pipelines.running import termination

    termination.interrupt_on_signals()
    from benison.pipelines.running import partial_run

    root = root.absolute()
    part = partial_run.Part(from_ or "", to or "", only or "", resume or "")
    part.check(cache=not no_cache, span=span)
    if on == "airflow":
        _on_airflow(name, set_, root, no_cache, span, part)
    sets = pairs(set_)
    if resume:
        sets = partial_run.resumed_sets(partial_run.find_resumable(root, served_name(name), resume), sets)
    from benison.pipelines import config_file

    config = config_file.load(name, sets)
    from benison.pipelines.made_from import recordable
    from benison.pipelines.records import runs
    from benison.pipelines.reports import report
    from benison.pipelines.reports.progress import Progress
    from benison.pipelines.runner import LocalRunner

    screen = console()
    with Progress(screen, runs.usual_seconds(root, config.name)) as progress:
        finished = LocalRunner(root, cache=not no_cache, observer=progress).run_config(
            config, span=span, sets=recordable(sets), part=part
        )
    report.show(finished, screen, root)
    if profile:
        from benison.pipelines.reports import profiles

        profiles.show(finished, screen)
    raise typer.Exit(report.EXIT_CODES[finished.outcome])


def _on_airflow(
    name: str, sets: list[str] | None, root: Path, no_cache: bool, span: str | None, part: Part
) -> NoReturn:
    if not part.is_whole:
        from benison.serving.errors import UsageError

        option = next(iter(part.options))
        raise UsageError(
            f"--on airflow and --{option} contradict each other: in Airflow, clear the tasks that are to run again"
        )
    from benison.pipelines.airflow import api, triggered_run
    from benison.pipelines.reports import report
    from benison.pipelines.reports.progress import Progress

    form_values = pairs(sets) | ({"cache": "false"} if no_cache else {}) | ({"span": span} if span else {})
    screen = console()
    try:
        with Progress(screen, {}, starting="waiting for Airflow …") as progress:
            finished = triggered_run.run(api.configured(), served_name(name), form_values, progress)
    except KeyboardInterrupt:
        print("Stopped following the run. It continues in Airflow.", file=sys.stderr)
        raise typer.Exit(130) from None
    report.show(finished, screen, root)
    raise typer.Exit(report.EXIT_CODES[finished.outcome])


def runs_(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A pipeline: show what its runs measured and what changed between them."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    json: Annotated[bool, typer.Option("--json", help="Print a list of objects, one per run.")] = False,
) -> None:
    """List earlier runs, newest last; with NAME, with the metric of each run and its change."""
    from benison.pipelines.records import runs
    from benison.pipelines.reports import run_history

    history = runs.history(root.absolute())
    if name is not None:
        served = served_name(name)
        history = [past for past in history if past.pipeline == served]
    if json:
        print(run_history.as_json(history))
    elif not history:
        print(f"no runs in {root}" if name is None else f"no runs of {name} in {root}")
    else:
        console().print(run_history.overview(history) if name is None else run_history.comparison(history))
