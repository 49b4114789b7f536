"""`benison deploy`: what TensorFlow Serving itself needs to serve a pipeline's model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load
from benison.pipelines.commands.serve import refuse_waiting
from benison.pipelines.commands.versions import served_version

if TYPE_CHECKING:
    from benison.serving.deploy.settings import Serving
    from benison.serving.models_config import Model


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
    from benison.serving.deploy import folder
    from benison.serving.deploy.targets import SOMETIMES, TARGETS
    from benison.serving.deploy.tf_serving import Deployment

    flags = {"serving.image": image, "serving.base_path": base_path}
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    config = load(name, [*(set_ or []), *given], check_data=False)
    model, *beside = _models(config.name, config.serving, root.absolute(), target)
    deployment = Deployment(model, config.serving, beside)
    files = TARGETS[target].files(deployment)
    head = folder.heading(f"{config.name} --target {target}")
    folder.write(output, {file: head + text for file, text in files.items()}, SOMETIMES)
    for file in files:
        print(f"wrote {output / file}")
    for warning in TARGETS[target].warnings(deployment):
        print(f"warning: {warning}")
    print(f"next: {TARGETS[target].next.format(folder=output)}")


def _models(name: str, settings: Serving, root: Path, target: str) -> list[Model]:
    """The model, then its canary and members, as ROOT's models.config has them, where their versions are.

    Raises:
        VersionError: its versions are to be taken from this machine, and there are none.
    """
    from benison.serving import models_config
    from benison.serving.models_config import Model
    from benison.serving.promotion import labels

    folder = root / "serving"
    place = folder if settings.object_store else Path(settings.place or folder)
    if not settings.object_store:
        served_version(place / name)
    if target == "compose" and settings.place is None:
        # The container serves by this very file.
        refuse_waiting(models_config.name_all(folder, [name]).models.values())
    config = models_config.read(folder).models
    beside = [model for other, model in config.items() if other != name and labels.belongs_to(folder / name, other)]
    found = [config.get(name, Model(name, str(folder / name))), *beside]
    return [replace(model, base_path=str(place / Path(model.base_path).name)) for model in found]
