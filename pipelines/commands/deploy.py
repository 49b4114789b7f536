"""`benison deploy`: what TensorFlow Serving itself needs to serve a pipeline's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load
from pipelines.commands.versions import served_version

if TYPE_CHECKING:
    from serving.deploy.settings import Serving
    from serving.models_config import Model


def deploy(
    name: Name,
    target: Annotated[
        Literal["compose", "k8s", "seldon"],
        typer.Option("--target", help="Docker Compose, Kubernetes, or Seldon Core."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write into.")],
    image: Annotated[str | None, typer.Option("--image", help="TensorFlow Serving's, by tag or digest.")] = None,
    base_path: Annotated[
        str | None, typer.Option("--base-path", help="Where NAME/VERSION folders are: a path, s3://… or gs://…")
    ] = None,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Writes what TensorFlow Serving needs to serve a pipeline's model; `serving:` in its YAML says how."""
    from serving.deploy import folder
    from serving.deploy.targets import SOMETIMES, TARGETS
    from serving.deploy.tf_serving import Deployment

    flags = {"serving.image": image, "serving.base_path": base_path}
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    config = load(name, [*(set_ or []), *given], check_data=False)
    deployment = Deployment(_model(config.name, config.serving, root.absolute()), config.serving)
    files = TARGETS[target].files(deployment)
    head = folder.heading(f"{config.name} --target {target}")
    folder.write(output, {file: head + text for file, text in files.items()}, SOMETIMES)
    for file in files:
        print(f"wrote {output / file}")
    for warning in TARGETS[target].warnings(deployment):
        print(f"warning: {warning}")
    print(f"next: {TARGETS[target].next.format(folder=output)}")


def _model(name: str, settings: Serving, root: Path) -> Model:
    """The model as ROOT's models.config has it, where its versions are.

    Raises:
        VersionError: its versions are to be taken from this machine, and there are none.
    """
    from serving import models_config
    from serving.models_config import Model

    folder = root / "serving"
    base = Path(settings.base_path or folder) / name
    if not settings.object_store:
        served_version(base)
    named = models_config.read(folder).models.get(name, Model(name, ""))
    return replace(named, base_path=str(base))
