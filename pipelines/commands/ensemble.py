"""`benison ensemble`: ensembles in Seldon's form, imported, asked and fused."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from benison.serving.fan_out import Answer
    from benison.serving.seldon.imported import Imported

_START_S = 120.0
_WIDTH = 10_000  # a row stays a line, whatever reads it

Folder = Annotated[Path, typer.Argument(help="What `benison ensemble import` wrote.")]


def import_(
    file: Annotated[Path, typer.Argument(help="A SeldonDeployment as YAML.")],
    bind: Annotated[
        list[str] | None,
        typer.Option(
            "--bind",
            metavar="NODE=PLACE",
            help="Where a node's model is: a SavedModel's folder, grpc://HOST:PORT/MODEL[/VERSION], or, for a "
            "transformer, identity; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write into; default: the predictor's name.")
    ] = None,
    predictor: Annotated[str | None, typer.Option("--predictor", help="Which one, where there are several.")] = None,
    combiner: Annotated[
        str,
        typer.Option(
            "--combiner", help='mean, median, majority_vote, soft_vote, or JSON: {"kind": "weighted_mean", …}'
        ),
    ] = "mean",
    answers: Annotated[
        Literal["probabilities", "prediction"] | None,
        typer.Option("--answers", help="What the models answer, where it cannot be seen in a SavedModel."),
    ] = None,
    quorum: Annotated[
        int | None, typer.Option("--quorum", min=1, help="How many models must answer; default: all, as in Seldon.")
    ] = None,
) -> None:
    """Reads a SeldonDeployment, and binds its nodes to models."""
    from benison.pipelines.quiet import quieten
    from benison.serving.seldon import form, graph, imported

    read = graph.of_predictor(form.read(file, predictor))
    quieten()
    made = imported.of_graph(read, bind or [], combiner=combiner, output=answers, quorum=quorum)
    for line in imported.tree(read, made):
        print(line)
    for remark in imported.remarks(read):
        print(f"note: {remark}")
    folder = output or Path(read.name)
    print(f"wrote {made.save(folder)}")
    print(f"next: benison ensemble predict {folder} --json ROWS.json")


def predict(
    folder: Folder,
    json: Annotated[Path, typer.Option("--json", help="JSON file: a list of objects.")],
    deadline: Annotated[float, typer.Option("--deadline", min=0.001, metavar="SECONDS", help="For each model.")] = 30.0,
) -> None:
    """Asks every model, by gRPC, and combines what they say; SavedModels get a model server of their own meanwhile."""
    from rich.console import Console
    from rich.table import Table

    from benison.serving.predict import read_rows
    from benison.serving.seldon.imported import Imported

    imported, rows = Imported.load(folder), read_rows(json)
    from benison.pipelines.quiet import quieten

    quieten()
    answer = asyncio.run(_asked(imported, rows, deadline))
    table = Table(
        "row", imported.ensemble.combiner.kind, *answer.members, box=None, header_style="bold", pad_edge=False
    )
    for number, values in enumerate(answer.values, start=1):
        of_members = [_figures(answer.outputs[member][number - 1]) for member in answer.members]
        table.add_row(str(number), _figures(values), *of_members)
    Console(width=_WIDTH).print(table)
    for member, why in answer.failures.items():
        print(f"without {member}: {why}", file=sys.stderr)


def fuse(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="The SavedModel to write, such as MODEL/1.")],
) -> None:
    """Writes models and combiner as one SavedModel, which any TensorFlow Serving serves."""
    from benison.serving.seldon.imported import Imported

    imported = Imported.load(folder)
    from benison.pipelines.quiet import quieten

    quieten()
    from benison.serving.seldon import fused

    inputs = fused.fuse(imported, output)
    print(f"wrote {output}: {imported.ensemble.combiner.kind} of {', '.join(imported.ensemble.members)}")
    print(f"inputs: {', '.join(inputs)}; signatures: serving_default, members")


async def _asked(imported: Imported, rows: Sequence[Any], deadline_s: float) -> Answer:
    """The answer; a server of our own has the SavedModels while it is needed."""
    from benison.components.deploy import candidate_server
    from benison.serving.seldon import asking
    from benison.serving.seldon.bindings import SavedModel, Server

    places = {**imported.members}
    if imported.transformer is not None:
        places[imported.ensemble.transformer] = imported.transformer
    here = {name: place.path for name, place in places.items() if isinstance(place, SavedModel)}
    if not here:
        return await asking.ask(imported, rows, {}, deadline_s=deadline_s)
    async with candidate_server.serve(here, _START_S) as server:
        served = {name: Server(target=server.target, model=name) for name in here}
        return await asking.ask(imported, rows, served, deadline_s=deadline_s)


def _figures(values: Any) -> str:
    return " ".join(f"{value:.6g}" for value in values.ravel())
