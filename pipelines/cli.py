"""The command line `benison`: its list of commands and its exit codes. Each command's code is in `pipelines.commands`.

Exit codes: 0 blessed and pushed (or done), 1 a node failed or the data is invalid, 2 wrong usage or config, 3 finished
but not blessed or not pushed, 130 interrupted.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import Annotated, NoReturn

import typer

from benison.pipelines.commands import (
    begin,
    card,
    compile,
    data,
    deploy,
    doctor,
    ensemble,
    export,
    lineage,
    predict,
    promotion,
    prune,
    report,
    reproduce,
    run,
    serve,
    tracking,
    ui,
    versions,
)

BEGIN, RUN, DATA, SERVE, MACHINE = "Begin", "Run", "Data", "Predict and serve", "This machine"
VERSIONS = "Versions"
_COLUMNS_FOR_PANELS = 60

app = typer.Typer(
    name="benison",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(requested: bool) -> None:
    if requested:
        import benison

        print(f"benison {benison.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train, evaluate, bless and serve ensembles, from a CSV file to a model server."""


app.command(rich_help_panel=BEGIN)(begin.init)
app.command(rich_help_panel=BEGIN)(begin.eject)

app.command("list", rich_help_panel=RUN)(run.list_)
app.command(rich_help_panel=RUN)(run.validate)
app.command(rich_help_panel=RUN)(run.run)
app.command("runs", rich_help_panel=RUN)(run.runs_)
app.command(rich_help_panel=RUN)(report.report)
app.command(rich_help_panel=RUN)(tracking.tensorboard)
app.command(rich_help_panel=RUN)(tracking.track)
app.command(rich_help_panel=RUN)(ui.compare)
app.command(rich_help_panel=RUN)(ui.ui)
app.command("compile", rich_help_panel=RUN)(compile.compile_)

app.command(rich_help_panel=DATA)(data.schema)
span = typer.Typer(
    name="span",
    help="Add, list, remove and replace the spans of a pipeline whose data arrives in parts.",
    no_args_is_help=True,
)
span.command("add")(data.span_add)
span.command("remove")(data.span_remove)
span.command("replace")(data.span_replace)
span.command("list")(data.span_list)
app.add_typer(span, rich_help_panel=DATA)

app.command(rich_help_panel=SERVE)(predict.predict)
app.command(rich_help_panel=SERVE)(serve.serve)
app.command(rich_help_panel=SERVE)(deploy.deploy)
app.command(rich_help_panel=SERVE)(export.export)
ensembles = typer.Typer(
    name="ensemble", help="Import, run and export ensembles written as Seldon graphs.", no_args_is_help=True
)
ensembles.command("import")(ensemble.import_)
ensembles.command()(ensemble.predict)
ensembles.command()(ensemble.fuse)
app.add_typer(ensembles, rich_help_panel=SERVE)

app.command("versions", rich_help_panel=VERSIONS)(versions.versions_)
app.command(rich_help_panel=VERSIONS)(versions.diff)
app.command(rich_help_panel=VERSIONS)(card.card)
app.command(rich_help_panel=VERSIONS)(lineage.lineage)
app.command(rich_help_panel=VERSIONS)(reproduce.reproduce)
app.command(rich_help_panel=VERSIONS)(versions.verify)
app.command(rich_help_panel=VERSIONS)(versions.fetch)
app.command(rich_help_panel=VERSIONS)(promotion.promote)
app.command(rich_help_panel=VERSIONS)(promotion.rollback)
app.command(rich_help_panel=VERSIONS)(prune.prune)

app.command(rich_help_panel=MACHINE)(doctor.doctor)


def fit_help_to(columns: int) -> None:
    """Draw help without panels where the terminal has so few columns that they would cut the names of options."""
    for commands in (app, span, ensembles):
        commands.rich_markup_mode = "rich" if columns >= _COLUMNS_FOR_PANELS else None


def main() -> NoReturn:
    """Run the command line; print Benison's own errors as one message and exit with their code."""
    from benison.pipelines.visible_streams import show_control_characters
    from benison.serving.errors import BenisonError

    show_control_characters()
    try:
        fit_help_to(shutil.get_terminal_size().columns)
        app()
    except BenisonError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if importlib.util.find_spec("tfx") is not None:
            raise
        print(
            f"no module named {error.name!r}: TFX is not installed, which pipelines need; install benison[tfx], or run "
            "`make setup` in a clone",
            file=sys.stderr,
        )
        sys.exit(1)
    except OSError as error:  # a full disk, a read-only root
        from benison.serving.files import system_errors

        print(system_errors.in_one_line(error), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Interrupted. Finished nodes are cached; run the same command to continue.", file=sys.stderr)
        # Not sys.exit: an import that a signal interrupted must not delay the exit.
        sys.stdout.flush()
        os._exit(130)
    sys.exit(0)
