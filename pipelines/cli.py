"""The command line `benison`.

Exit codes: 0 blessed and pushed (or done), 1 a node failed or data were invalid, 2 wrong usage or config, 3 finished
but not blessed, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pipelines import init_commands

if TYPE_CHECKING:
    from pipelines.config import Pipeline

app = typer.Typer(
    name="benison",
    help="From a CSV to a blessed ensemble that answers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="A pipeline's name, or the path of its YAML file.")]
Root = Annotated[
    Path, typer.Option("--root", envvar="BENISON_ROOT", help="Where artifacts, runs and pushed versions are kept.")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="key=value", help="Overrides a key of the YAML; repeatable.")
]
DEFAULT_ROOT = Path(".benison")

app.command()(init_commands.init)
app.command()(init_commands.eject)


@app.command("list")
def list_() -> None:
    """The pipelines that can be run by name."""
    from pipelines.config_file import available

    for entry in available():
        print(f"{entry.name:20} {entry.description}  ({entry.path})")


@app.command()
def validate(name: Name, set_: Sets = None) -> None:
    """Checks a config and the functions that it names, and runs nothing."""
    config = _load(name, set_)
    members = ", ".join(config.ensemble.members)
    if config.data.source:
        data = f"data written by {config.data.source}"
    else:
        data = "data span by span" if config.spans else f"{len(config.files())} data file(s)"
    print(f"{name}: valid; {config.problem} on {config.label!r}, members {members}, {data}")


@app.command()
def run(
    name: Name,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node anew.")] = False,
    span: Annotated[
        str | None, typer.Option("--span", help="Of data with spans: 3, or 1-3; default: the newest.")
    ] = None,
) -> None:
    """Runs a pipeline: data in, a blessed ensemble pushed or the rule that refused it."""
    from rich.console import Console

    config = _load(name, set_)
    from pipelines import report, runs
    from pipelines.progress import Progress
    from pipelines.runner import LocalRunner

    root = root.absolute()
    console = Console()
    with Progress(console, runs.usual_seconds(root, config.name)) as progress:
        done = LocalRunner(root, cache=not no_cache, observer=progress).run_config(config, span=span)
    report.show(done, console, root)
    raise typer.Exit(report.EXIT_CODES[done.outcome])


@app.command("runs")
def runs_(root: Root = DEFAULT_ROOT) -> None:
    """Earlier runs, newest last."""
    import time

    from rich.console import Console
    from rich.table import Table

    from pipelines import runs

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


@app.command()
def schema(
    name: Name,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
    accept: Annotated[bool, typer.Option("--accept", help="Write it beside the YAML, where runs import it.")] = False,
) -> None:
    """The schema that the data suggest; with --accept it becomes the curated one."""
    from pipelines import curation

    config = _load(name, set_)
    text = curation.inferred(config, root.absolute())
    if accept:
        curation.accept(config, text)
        print(f"written to {config.schema_path}; edit it, it is what runs check the data against")
    else:
        print(text, end="")


span_app = typer.Typer(name="span", help="Data that come span by span.", no_args_is_help=True)
app.add_typer(span_app)


@span_app.command("add")
def span_add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="CSV files of the new span.")],
    number: Annotated[int | None, typer.Option("--number", help="Its number; default: the next one.")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Lands a new span, whole or not at all."""
    from pipelines import spans

    landed = spans.land(_with_spans(name), root.absolute(), files, number)
    print(f"span {landed.number} of {name}: {landed.rows} rows, sha256 {landed.sha256[:12]}")


@span_app.command("list")
def span_list(name: Name, root: Root = DEFAULT_ROOT) -> None:
    """The landed spans: rows, hash, anomalies, drift, and the versions trained on them."""
    from rich.console import Console

    from pipelines import span_report

    Console().print(span_report.table(_with_spans(name), root.absolute()))


@app.command()
def predict(
    name: Name,
    csv: Annotated[Path | None, typer.Option("--csv", help="CSV file with a header.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="JSON file: a list of objects.")] = None,
    members: Annotated[bool, typer.Option("--members", help="Also what each member says.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Answers from the pushed version, in this process."""
    from rich.console import Console

    from serving import predict as prediction
    from serving import versions
    from serving.errors import UsageError, VersionError

    given = [file for file in (csv, json) if file is not None]
    if len(given) != 1:
        raise UsageError("predict: expected one of --csv FILE and --json FILE")
    name = _pipeline_name(name)
    base = root.absolute() / "serving" / name
    served = versions.served(base)
    if served is None:
        raise VersionError(f"{base}: nothing is served yet; `benison run {name}` pushes a version")
    form = {key: served.manifest[key] for key in ("delimiter", "encoding") if key in served.manifest}
    rows = prediction.read_rows(given[0], **form)
    from pipelines import report
    from pipelines.quiet import quieten

    quieten()
    print(f"{name} version {served.number}, {served.path}")
    report.show_predictions(prediction.predict(served, rows, members=members), Console())


@app.command()
def doctor(root: Root = DEFAULT_ROOT) -> None:
    """What this machine can run, and what not and why."""
    from rich.console import Console
    from rich.table import Table

    from pipelines import doctor as examination

    report = examination.examine(root.absolute())
    table = Table("", "check", "found", "what to do", box=None, header_style="bold", pad_edge=False)
    marks = {True: "[green]ok[/]", False: "[bold red]no[/]", None: ""}
    for check in report.checks:
        table.add_row(marks[check.ok], check.name, check.value, check.advice)
    Console().print(table)
    raise typer.Exit(1 if report.failed else 0)


def _load(name: str, sets: list[str] | None) -> Pipeline:
    from pipelines.config_file import load
    from serving.errors import UsageError

    for given in sets or []:
        if "=" not in given:
            raise UsageError(f"--set {given}: expected key=value, such as --set ensemble.members.deep.epochs=5")
    return load(name, dict(given.split("=", 1) for given in sets or []))


def _with_spans(name: str) -> Pipeline:
    from serving.errors import UsageError

    config = _load(name, None)
    if config.spans is None:
        raise UsageError(f"{name}: no `spans:` in its YAML; it takes its data whole")
    return config


def _pipeline_name(name: str) -> str:
    """The name under which versions are pushed; predicting needs the config only where its file was given."""
    if not name.endswith((".yaml", ".yml")):
        return name
    from pipelines.config_file import load

    return load(name, check_data=False).name


def main() -> NoReturn:
    """Runs the command line; Benison's own errors become one message and an exit code."""
    from serving.errors import BenisonError

    try:
        app()
    except BenisonError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a read-only root
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; what had finished is kept: the same command goes on from there", file=sys.stderr)
        # Not sys.exit: an import that a signal broke off in the middle must not hold up the end.
        sys.stdout.flush()
        os._exit(130)
    sys.exit(0)
