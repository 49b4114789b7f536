"""`benison compile`: pipelines as files that Airflow reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, load


def compile_(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Pipelines, by name or by the path of their YAML file.")
    ],
    to: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Writes pipelines as files for Airflow: a manifest, TFX's IR and the checked config of each."""
    configs = [load(name, None) for name in names]  # all of them before the first is written
    from benison.pipelines.quiet import quieten

    quieten()
    from benison.pipelines.airflow import manifest

    for config in configs:
        made = manifest.write(config, to, root.absolute())
        print(f"{to / made.name}.json: {len(made.nodes)} nodes, {len(made.parameters)} fields in the form")
