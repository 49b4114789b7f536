"""`benison serve`: run the model server for pushed models, until Ctrl-C."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root, served_name, serving_settings
from benison.pipelines.commands.versions import Verify, check_line, served_version

if TYPE_CHECKING:
    from benison.serving.models_config import Config, Model
    from benison.serving.versions.local import Version

_LOOPBACK = "127.0.0.1"
_LONGEST_SOCKET = 104  # bytes of a socket's path, on every system


def serve(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Names of pipelines, or paths of their YAML files.")
    ],
    root: Root = DEFAULT_ROOT,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, metavar="PORT", help="Port of gRPC.")] = 8500,
    rest_port: Annotated[
        int, typer.Option("--rest-port", min=1, max=65535, metavar="PORT", help="Port of REST.")
    ] = 8501,
    poll: Annotated[
        int, typer.Option("--poll", min=1, metavar="SECONDS", help="Time between two readings of models.config.")
    ] = 2,
    flag: Annotated[
        list[str] | None,
        typer.Option("--flag", metavar="NAME=VALUE", help="A flag of tensorflow_model_server; repeatable."),
    ] = None,
    verify: Verify = True,
) -> None:
    """Serve pushed models over TensorFlow Serving's REST and gRPC, until Ctrl-C."""
    from benison.serving import models_config
    from benison.serving.errors import UsageError

    if port == rest_port:
        raise UsageError(f"--port {port}: the same as --rest-port; gRPC and REST need different ports")
    metrics = any(_has_metrics(name) for name in names)
    names = list(dict.fromkeys(served_name(name) for name in names))
    folder = root.absolute() / "serving"
    versions = _served_versions([folder / name for name in names], verify)
    if verify:
        for name, version in versions.items():
            print(f"{name} {version.number}: {check_line(version)}")
            _verify_canary(folder / name)
    for option, number in (("--port", port), ("--rest-port", rest_port)):
        _refuse_taken(option, number)
    if os.access(folder, os.W_OK):
        config = models_config.name_all(folder, names)
    else:
        config = models_config.with_models(models_config.read(folder), folder, names)
    _print_unserved(config.models.values())

    from benison.pipelines.quiet import quieten

    quieten()
    from benison.pipelines.records import temporary
    from benison.serving.promotion import local_servers
    from benison.serving.server import main
    from benison.serving.server.metrics import PATH

    argv = [
        f"--port={port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file_poll_wait_seconds={poll}",
        "--allow_version_labels_for_unavailable_models=true",
        *(f"--{text}" for text in flag or []),
    ]
    if not verify:
        os.environ["BENISON_VERIFY"] = "off"
    metrics_path = PATH if metrics else ""

    with temporary.for_command(None, "serve") as own, ExitStack() as announcement:
        file = _config_file(folder, config, own)
        argv.append(f"--model_config_file={file}")
        print(f"starting with the models and versions of {file}", flush=True)
        grpc_socket = _socket(own, flag or [])
        if grpc_socket:
            argv.append(f"--grpc_socket_path={grpc_socket}")

        def announce() -> None:
            if grpc_socket:
                announcement.enter_context(local_servers.announced(folder, port, grpc_socket))
            _print_addresses(config, versions, port, rest_port, metrics_path)

        code = main.serve(argv, announce, metrics_path=metrics_path, trusted_folder=folder)
    raise typer.Exit(code)


def _config_file(folder: Path, config: Config, own: Path) -> Path:
    """Return ROOT's models.config, or a copy if it is not `config` and cannot become so.

    Args:
        folder: ROOT/serving.
        config: the models to serve.
        own: a folder of this process's own.
    """
    from benison.serving import models_config

    file = folder / models_config.FILE
    if models_config.read(folder) == config:
        return file
    copy = own / models_config.FILE
    copy.write_text(models_config.text(config.models.values()), encoding="utf-8")
    print(f"{folder} is read-only, so the server has a copy of {file}; it does not see later promotions")
    return copy


def _socket(folder: Path, flags: Sequence[str]) -> Path | None:
    """Return the Unix socket by which `promote` reaches the server; None if it must use TCP.

    Args:
        folder: a folder of this process's own.
        flags: NAME=VALUE each; the user may choose another path, and TLS needs certificates on a socket too.
    """
    values = dict(text.partition("=")[::2] for text in flags)
    path = Path(values.get("grpc_socket_path") or folder / "grpc").absolute()
    return None if values.get("ssl_config_file") or len(os.fsencode(path)) > _LONGEST_SOCKET else path


def _served_versions(bases: Sequence[Path], verify: bool) -> dict[str, Version]:
    """Return the served version of each model that has one.

    Args:
        bases: ROOT/serving/NAME of each model.
        verify: See `served_version`.

    Raises:
        VersionError: Nothing is pushed for a model, no model has a served version, or a version is damaged.
    """
    from benison.serving.promotion import labels
    from benison.serving.versions import local

    promoted = [base for base in bases if labels.served(base, damaged=True) or not local.all_versions(base)]
    return {base.name: served_version(base, verify=verify) for base in promoted or bases}


def _has_metrics(name: str) -> bool:
    """Return `serving.monitoring` of a pipeline's YAML; its default where there is none that can be read."""
    from benison.serving.deploy.settings import Serving
    from benison.serving.errors import UsageError

    try:
        settings = serving_settings(name)
    except UsageError:  # a mistake in the YAML does not keep a pushed model from being served
        settings = None
    return (settings or Serving()).monitoring


def _verify_canary(base: Path) -> None:
    """Verify the canary too, so that a damaged one is reported before the start."""
    from benison.serving import models_config
    from benison.serving.promotion import labels
    from benison.serving.versions import sets

    canary = labels.served_versions(models_config.read(base.parent), base).canary
    if canary is not None:
        sets.get_verified(base, canary)


def _print_unserved(entries: Iterable[Model]) -> None:
    """Print for each model of models.config which pushed version is not served, and how to serve it."""
    from benison.serving.promotion import labels
    from benison.serving.versions import local

    models = {model.name: model for model in entries}
    for name, model in models.items():
        base = Path(model.base_path)
        served = _numbers(model)
        pushed = [version.number for version in local.all_versions(base)]
        canary = models.get(labels.canary_name(base))
        if not served and not pushed:
            print(f"{name}: no version is pushed yet; it is served as soon as there is one in {base}")
        elif pushed and max(pushed) not in {*served, *(_numbers(canary) if canary else ())} and base.name == name:
            now = f"version {max(served)} is served" if served else "no version is served"
            print(
                f"{name}: version {max(pushed)} is pushed but not promoted, and {now}; "
                f"`benison promote {name} {max(pushed)}` serves it"
            )


def _refuse_taken(option: str, port: int) -> None:
    """Refuse a port in use before any model is loaded; gRPC would share it with another gRPC server."""
    from benison.serving.errors import UsageError

    address = os.environ.get("BENISON_BIND", "").split(",")[0].strip() or _LOOPBACK
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        # A port whose last connection has just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.strip("[]"), port))
        except OSError as error:
            raise UsageError(
                f"{option} {port}: cannot be opened on {address}: {error.strerror}; choose another port"
            ) from None


def _print_addresses(
    config: Config, versions: dict[str, Version], port: int, rest_port: int, metrics_path: str
) -> None:
    from benison.serving import example_request

    for model in config.models.values():
        if numbers := _numbers(model):
            print(f"serving {model.name}, version {', '.join(map(str, numbers))}")
    print(f"REST   http://localhost:{rest_port}/v1/models/NAME:predict")
    print(f"gRPC   localhost:{port}")
    if metrics_path:
        print(f"Prometheus   http://localhost:{rest_port}{metrics_path}")
    for name, version in versions.items():
        instance = example_request.instance(version, _examples(name, version))
        print(example_request.curl(f"localhost:{rest_port}", name, instance))
    print("Ctrl-C stops the server after the accepted requests are answered", flush=True)


def _numbers(model: Model) -> list[int]:
    """Return the versions that models.config names and that exist."""
    from benison.serving.server import version_folders

    try:
        return list(version_folders.aspired_versions(model))
    except OSError:
        return []


def _examples(name: str, version: Version) -> Sequence[Any]:
    """Return the example rows that are shipped with the pipeline; none if it has no such file."""
    from benison.pipelines.config_file import SHIPPED
    from benison.serving import predict
    from benison.serving.errors import DataError

    for folder in (Path("configs"), *SHIPPED):
        file = folder / "examples" / f"{name}.csv"
        if file.is_file():
            try:
                return predict.read_rows(file, version.manifest.delimiter, version.manifest.encoding)
            except DataError:
                return ()
    return ()
