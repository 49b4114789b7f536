"""`benison deploy`: files with which TensorFlow Serving serves a pipeline's model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load
from benison.pipelines.commands.versions import served_version

if TYPE_CHECKING:
    from benison.serving.deploy.settings import Serving
    from benison.serving.models_config import Model


def deploy(
    name: Name,
    target: Annotated[
        Literal["compose", "k8s", "seldon"],
        typer.Option("--target", help="Docker Compose, Kubernetes or Seldon Core."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="The folder to write to.")],
    image: Annotated[
        str | None, typer.Option("--image", metavar="IMAGE", help="Image of TensorFlow Serving, by tag or digest.")
    ] = None,
    base_path: Annotated[
        str | None,
        typer.Option(
            "--base-path", metavar="PLACE", help="Place of the NAME/VERSION folders: a path, s3://… or gs://…"
        ),
    ] = None,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write files with which TensorFlow Serving serves a pipeline's model, by the settings `serving:` of its YAML."""
    from benison.serving.deploy import folder
    from benison.serving.deploy.targets import OPTIONAL_FILES, TARGETS
    from benison.serving.deploy.tf_serving import Deployment

    flags = {"serving.image": image, "serving.base_path": base_path}
    overrides = [f"{key}={value}" for key, value in flags.items() if value is not None]
    config = load(name, [*(set_ or []), *overrides], check_data=False)
    versions_folder = root.absolute() / "serving"
    is_read_only = versions_folder.is_dir() and not os.access(versions_folder, os.W_OK)
    if target == "compose" and config.serving.place is None and is_read_only:
        print(f"{versions_folder} is read-only, so the server gets a copy of its models.config")
        config = load(name, [*(set_ or []), *overrides, f"serving.base_path={versions_folder}"], check_data=False)
    model, *beside = _models(config.name, config.serving, root.absolute(), target)
    deployment = Deployment(model, config.serving, beside)
    files = TARGETS[target].files(deployment)
    head = folder.heading(f"{config.name} --target {target}")
    folder.write(output, {file: head + text for file, text in files.items()}, OPTIONAL_FILES)
    for file in files:
        print(f"wrote {output / file}")
    for warning in TARGETS[target].warnings(deployment):
        print(f"warning: {warning}")
    print(f"next: {' && '.join(TARGETS[target].steps(deployment, shlex.quote(str(output))))}")


def _models(name: str, settings: Serving, root: Path, target: str) -> list[Model]:
    """Return the model, its canary and its members from ROOT's models.config, with the place of their versions.

    Raises:
        VersionError: The versions should be on this machine, but there are none.
    """
    from benison.serving import models_config
    from benison.serving.models_config import Model
    from benison.serving.promotion import labels

    folder = root / "serving"
    versions_folder = folder if settings.object_store else Path(settings.place or folder)
    if not settings.object_store:
        served_version(versions_folder / name)
    if target == "compose" and settings.place is None:
        # The container reads this file.
        _require_versions(models_config.name_all(folder, [name]).models.values())
    config = models_config.read(folder).models
    beside = [model for other, model in config.items() if other != name and labels.belongs_to(folder / name, other)]
    models = [config.get(name, Model(name, str(folder / name))), *beside]
    return [replace(model, base_path=str(versions_folder / Path(model.base_path).name)) for model in models]


def _require_versions(models: Iterable[Model]) -> None:
    """Check that each model has a version; TF Serving opens its ports only when every model is loaded.

    Raises:
        VersionError: A model has none of the versions that models.config names.
    """
    from benison.serving import models_config
    from benison.serving.errors import VersionError

    for model in models:
        if not models_config.selected_versions(model):
            raise VersionError(
                f"{models_config.FILE} names {model.name}, but {model.base_path} contains none of its versions; the "
                "server would wait for one before it serves any model; push one, or remove the model from the file"
            )
