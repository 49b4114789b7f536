"""`benison ensemble`: import ensembles written as Seldon graphs, run them, and export them as one SavedModel."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from benison.pipelines.commands.output import console

if TYPE_CHECKING:
    from benison.serving.fan_out import Answer
    from benison.serving.seldon.imported_ensemble import ImportedEnsemble

_SERVER_START_S = 120.0

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that `benison ensemble import` wrote.")]

AllowCode = Annotated[
    str,
    typer.Option(
        "--allow-code",
        metavar="FILE:FUNCTION",
        help="Run this custom combiner, such as vote.py:vote. Without it, no code in the folder's JSON runs.",
    ),
]


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file with a SeldonDeployment.")],
    bind: Annotated[
        list[str] | None,
        typer.Option(
            "--bind",
            metavar="NODE=PLACE",
            help="The model of a node: the folder of a SavedModel, grpc://HOST:PORT/MODEL, "
            "grpc://HOST:PORT/MODEL/VERSION, or identity for a transformer; repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write to; default: the predictor's name."),
    ] = None,
    predictor: Annotated[
        str | None, typer.Option("--predictor", metavar="NAME", help="The predictor to import, if there are several.")
    ] = None,
    combiner: Annotated[
        str,
        typer.Option(
            "--combiner",
            metavar="RULE",
            help='mean, median, majority_vote, soft_vote, FILE.py:FUNCTION, or JSON: {"kind": "weighted_mean", …}.',
        ),
    ] = "mean",
    answers: Annotated[
        Literal["probabilities", "prediction"] | None,
        typer.Option("--answers", help="What the models return, if no SavedModel shows it."),
    ] = None,
    quorum: Annotated[
        int | None,
        typer.Option(
            "--quorum", min=1, metavar="NUMBER", help="Number of models that must answer; default: all, as in Seldon."
        ),
    ] = None,
) -> None:
    """Import a SeldonDeployment and bind its nodes to models."""
    from benison.pipelines.quiet import quieten
    from benison.serving.seldon import graph, imported_ensemble, seldon_deployment

    inference_graph = graph.from_predictor(seldon_deployment.read(file, predictor))
    quieten()
    ensemble = imported_ensemble.import_graph(
        inference_graph, bind or [], combiner=combiner, output=answers, quorum=quorum
    )
    for line in imported_ensemble.tree_lines(inference_graph, ensemble):
        print(line)
    for remark in imported_ensemble.unused_parts(inference_graph):
        print(f"note: {remark}")
    folder = output or Path(inference_graph.name)
    print(f"wrote {ensemble.save(folder)}")
    print(f"next: benison ensemble predict {folder} --json ROWS.json")


def predict(
    folder: Folder,
    json: Annotated[Path, typer.Option("--json", metavar="FILE", help="A JSON file with a list of objects.")],
    deadline: Annotated[
        float, typer.Option("--deadline", min=0.001, metavar="SECONDS", help="Longest time for each model.")
    ] = 30.0,
    allow_code: AllowCode = "",
) -> None:
    """Send rows to every model over gRPC and combine the answers; a temporary model server serves the SavedModels."""
    from benison.pipelines.records import temporary
    from benison.pipelines.reports.tables import DataTable
    from benison.pipelines.running import termination
    from benison.serving.predict import read_rows
    from benison.serving.seldon.imported_ensemble import ImportedEnsemble

    imported, rows = ImportedEnsemble.load(folder, allow_code), read_rows(json)
    from benison.pipelines.quiet import quieten

    quieten()
    termination.interrupt_on_signals()
    with temporary.for_command(None, "ensemble") as own, temporary.use(own):
        answer = asyncio.run(_predict(imported, rows, deadline))
    table = DataTable("row", imported.ensemble.combiner.kind, *answer.members)
    for number, values in enumerate(answer.values, start=1):
        member_values = [_format_values(answer.outputs[member][number - 1]) for member in answer.members]
        table.add_row(str(number), _format_values(values), *member_values)
    console().print(table)
    for member, reason in answer.failures.items():
        print(f"without {member}: {reason}", file=sys.stderr)


def fuse(
    folder: Folder,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The SavedModel to write, such as MODEL/1.")
    ],
    allow_code: AllowCode = "",
) -> None:
    """Export the models and the combiner as one SavedModel that TensorFlow Serving can serve."""
    from benison.serving.seldon.imported_ensemble import ImportedEnsemble

    imported = ImportedEnsemble.load(folder, allow_code)
    from benison.pipelines.quiet import quieten

    quieten()
    from benison.serving.seldon import fusion

    inputs = fusion.fuse(imported, output)
    print(f"wrote {output}: {imported.ensemble.combiner.kind} of {', '.join(imported.ensemble.members)}")
    print(f"inputs: {', '.join(inputs)}; signatures: serving_default, members")


async def _predict(imported: ImportedEnsemble, rows: Sequence[Any], deadline_s: float) -> Answer:
    """Send the rows to the members; a temporary model server serves those that are SavedModels."""
    from benison.components.deploy import candidate_server
    from benison.serving.seldon import member_requests
    from benison.serving.seldon.bindings import SavedModel, Server

    bindings = {**imported.members}
    if imported.transformer is not None:
        bindings[imported.ensemble.transformer] = imported.transformer
    saved_models = {name: binding.path for name, binding in bindings.items() if isinstance(binding, SavedModel)}
    if not saved_models:
        return await member_requests.predict(imported, rows, {}, deadline_s=deadline_s)
    async with candidate_server.serve(saved_models, _SERVER_START_S) as server:
        served = {name: Server(target=server.target, model=name) for name in saved_models}
        return await member_requests.predict(imported, rows, served, deadline_s=deadline_s)


def _format_values(values: Any) -> str:
    return " ".join(f"{value:.6g}" for value in values.ravel())
