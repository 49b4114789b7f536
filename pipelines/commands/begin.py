"""`benison init` and `benison eject`: make a pipeline without Python, and turn one into Python code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from benison.pipelines.commands import arguments


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new pipeline's name.")],
    csv: Annotated[Path, typer.Option("--csv", metavar="FILE", help="CSV file with a header, JSON lines or Parquet.")],
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="The column to predict.")],
    problem: Annotated[
        Literal["binary", "multiclass", "regression"] | None,
        typer.Option("--problem", help="The kind of problem; default: guessed from the label."),
    ] = None,
    spans: Annotated[
        bool,
        typer.Option("--spans", help="The data arrives span by span, such as month by month; needs a column of times."),
    ] = False,
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="COLUMN", help="Order the rows by this column; default with --spans: a date."),
    ] = None,
    weight: Annotated[
        str | None,
        typer.Option("--weight", metavar="COLUMN", help="Sample weights: this column says how much each row counts."),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=0, help="The number of rows to look at; 0 looks at all.")
    ] = 1_000_000,
    sets: arguments.Sets = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Write a pipeline for a file of rows into the current folder, and print what was guessed from the data."""
    from benison.pipelines.starting.init import create

    given = arguments.pairs(sets)
    read = sample or None
    pipeline = create(
        name, csv, label, problem, force, spans=spans, time=time, sample=read, settings=given, weight=weight
    )
    for line in pipeline.lines():
        print(line)
    if spans:
        print(f"next: benison span add {name}.yaml {csv}, then benison run {name}.yaml; add each new file in this way")
    else:
        print(f"next: benison run {name}.yaml")


def eject(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A pipeline's name, or the path of its YAML file.")],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="The folder to write into; default: the pipeline's name."),
    ] = None,
) -> None:
    """Write the generic features and members of a pipeline as Python files that you can edit."""
    from benison.pipelines.starting.eject import eject as write

    for file in write(name, to):
        print(f"wrote {file}")
    print(f"next: benison validate {name}")
