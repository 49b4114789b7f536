"""`benison export`: a pushed version for systems other than Benison's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, served_name
from benison.pipelines.commands.versions import Verify, served_version


def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a pipeline, or path of its YAML file.")],
    to: Annotated[str, typer.Option("--to", metavar="KIND", help="onnx, pmml, bundle, bentoml or gradio.")],
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", help="Version to export; default: the served one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="DIR", help="Folder to write; default: NAME-VERSION-KIND in this folder."),
    ] = None,
    member: Annotated[
        str | None, typer.Option("--member", metavar="MEMBER", help="Export one member; only for pmml.")
    ] = None,
    evaluator: Annotated[
        str | None,
        typer.Option(
            "--evaluator", metavar="PYTHON", help="Python of an environment with jpmml-evaluator; only for pmml."
        ),
    ] = None,
    verify: Verify = True,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Export a version as ONNX, PMML, a bundle, a BentoML service or a Gradio app.

    The export is run on the rows of the version first, and written only if every answer is that of training.
    """
    from benison.pipelines.quiet import quieten
    from benison.serving.exports import writing
    from benison.serving.versions import sets

    base = root.absolute() / "serving" / served_name(name)
    found = served_version(base, verify=verify) if version is None else sets.get_verified(base, version)
    quieten()
    target = output or Path(f"{base.name}-{found.number}-{to}")
    written, proven = writing.export(found, to, target.absolute(), member=member, evaluator=evaluator)
    print(proven)
    print(f"{base.name} {found.number}: {written}")
