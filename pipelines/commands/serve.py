"""`benison serve`: what was pushed, behind the model server, until Ctrl-C."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, served_name
from benison.pipelines.commands.versions import served_version

if TYPE_CHECKING:
    from benison.serving.models_config import Model
    from benison.serving.versions.local import Version

_LOOPBACK = "127.0.0.1"


def serve(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Pipelines' names, or paths of their YAML files.")
    ],
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of gRPC.")] = 8500,
    rest_port: Annotated[int, typer.Option("--rest-port", min=1, max=65535, help="Of REST.")] = 8501,
    poll: Annotated[
        int, typer.Option("--poll", min=1, metavar="SECONDS", help="How often models.config is read again.")
    ] = 2,
    flag: Annotated[
        list[str] | None,
        typer.Option("--flag", metavar="name=value", help="A flag of tensorflow_model_server's; repeatable."),
    ] = None,
) -> None:
    """Serves pushed models by TensorFlow Serving's REST and gRPC, until Ctrl-C."""
    from benison.serving import models_config
    from benison.serving.errors import UsageError

    if port == rest_port:
        raise UsageError(f"--port {port}: the same as --rest-port; gRPC and REST need one each")
    names = list(dict.fromkeys(served_name(name) for name in names))
    folder = root.absolute() / "serving"
    versions = {name: served_version(folder / name) for name in names}
    for option, number in (("--port", port), ("--rest-port", rest_port)):
        _refuse_taken(option, number)
    refuse_waiting(models_config.name_all(folder, names).models.values())

    from benison.pipelines.quiet import quieten

    quieten()
    from benison.serving.server import main

    argv = [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={folder / models_config.FILE}",
        f"--model_config_file_poll_wait_seconds={poll}",
        "--allow_version_labels_for_unavailable_models=true",
        *(f"--{given}" for given in flag or []),
    ]
    print(f"starting; models and versions by {folder / models_config.FILE}", flush=True)
    code = main.serve(argv, when_ready=lambda: _tell(folder, versions, port, rest_port))
    raise typer.Exit(code)


def refuse_waiting(models: Iterable[Model]) -> None:
    """Sees to it that each model has a version: one without would keep the ports closed for all of them.

    Raises:
        VersionError: one has none that models.config wants.
    """
    from benison.serving import models_config
    from benison.serving.errors import VersionError

    for model in models:
        if not _numbers(model):
            raise VersionError(
                f"{models_config.FILE} names {model.name}, but {model.base_path} holds no version that it wants: "
                "the server would wait for one before it serves any; push one, or take the model out of the file"
            )


def _refuse_taken(option: str, port: int) -> None:
    """Now rather than once all models are loaded; and gRPC would share the port with another gRPC server."""
    from benison.serving.errors import UsageError

    address = os.environ.get("BENISON_BIND", "").split(",")[0].strip() or _LOOPBACK
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        # What only waits for its last packets is not taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
        except OSError as error:
            raise UsageError(
                f"{option} {port}: cannot be opened on {address}: {error.strerror}; choose another one"
            ) from None


def _tell(folder: Path, versions: dict[str, Version], port: int, rest_port: int) -> None:
    from benison.serving import example_request, models_config

    for model in models_config.read(folder).models.values():
        print(f"serves {model.name}, version {', '.join(map(str, _numbers(model)))}")
    print(f"REST   http://localhost:{rest_port}/v1/models/NAME:predict")
    print(f"gRPC   localhost:{port}")
    for name, version in versions.items():
        instance = example_request.instance(version, _examples(name, version))
        print(example_request.curl(f"localhost:{rest_port}", name, instance))
    print("Ctrl-C ends it, once the requests that were accepted are answered", flush=True)


def _numbers(model: Model) -> list[int]:
    """The versions that models.config wants and that are there."""
    from benison.serving.server import version_folders

    try:
        return list(version_folders.aspired(model))
    except OSError:
        return []


def _examples(name: str, version: Version) -> Sequence[Any]:
    """Rows that the pipeline ships to be tried with; none where it has no file of them."""
    from benison.pipelines.config_file import SHIPPED
    from benison.serving import predict
    from benison.serving.errors import DataError

    form = {key: version.manifest[key] for key in ("delimiter", "encoding") if key in version.manifest}
    for folder in (Path("configs"), *SHIPPED):
        file = folder / "examples" / f"{name}.csv"
        if file.is_file():
            try:
                return predict.read_rows(file, **form)
            except DataError:
                return ()
    return ()
