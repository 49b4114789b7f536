"""`benison compile`: write pipelines as files that Airflow reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, ConfigOnly, Root, load
from benison.serving.files import system_errors


def compile_(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Pipelines, by name or by the path of their YAML file.")
    ],
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write into.")],
    root: Root = DEFAULT_ROOT,
    config_only: ConfigOnly = False,
) -> None:
    """Compile pipelines for Airflow: write a manifest, TFX's IR and the checked config of each."""
    configs = [load(name, None) for name in names]  # check all of them before writing the first
    from benison.pipelines.airflow import collisions
    from benison.pipelines.running import code_trial, termination

    collisions.refuse(to, [collisions.of_config(config, root.absolute()) for config in configs])
    termination.interrupt_on_signals()

    for config in configs:
        if config_only:
            code_trial.refuse_missing_imports(config)
        else:
            code_trial.try_code(config, root.absolute())
    from benison.pipelines.quiet import quieten

    quieten()
    from benison.pipelines.airflow import manifest

    for config in configs:
        with system_errors.about(to):
            written = manifest.write(config, to, root.absolute())
        print(f"{to / written.name}.json: {len(written.nodes)} nodes, {len(written.parameters)} fields in the form")
