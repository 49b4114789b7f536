"""TensorFlow Serving under Docker Compose.

If the versions are in ROOT, the container mounts ROOT/serving at the same path and reads ROOT's own models.config. So
`benison promote` and `rollback` work on it like on any server of this machine, and so does the reload RPC.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benison.serving import models_config
from benison.serving.deploy.tf_serving import (
    COMMAND,
    CONFIG_FOLDER,
    GRPC_PORT,
    MODELS_FOLDER,
    REST_PORT,
    Deployment,
    flags,
    models_file,
    read_at_start,
)
from benison.serving.errors import UsageError

_NOBODY = 65534


def config_files(deployment: Deployment) -> dict[str, str]:
    """Return the files of `config/` beside compose.yaml, by name."""
    copied = {} if _shared(deployment) else models_file(deployment)
    return {**copied, **read_at_start(deployment.settings)}


def document(deployment: Deployment) -> dict[str, Any]:
    """Return compose.yaml.

    Raises:
        UsageError: The container could not read the versions.
    """
    settings = deployment.settings
    command_line = flags(settings, _shared(deployment) or CONFIG_FOLDER)
    service: dict[str, Any] = {
        "image": settings.image,
        "entrypoint": [COMMAND],
        "command": [_escape(word) for word in command_line],
        "init": True,  # as process 1 the server, which handles no signals, would never get SIGTERM
        "user": _user(deployment),
        "restart": "unless-stopped",
        "ports": [
            _port("grpc", GRPC_PORT, settings.grpc_port, settings.compose.host_address),
            _port("rest", REST_PORT, settings.rest_port, settings.compose.host_address),
        ],
        "volumes": _volumes(deployment),
        "healthcheck": _health(deployment),
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": {"resources": _resources(deployment)},
    }
    if settings.environment:
        service["environment"] = {name: _escape(text) for name, text in settings.environment.items()}
    if settings.compose.env_file:
        service["env_file"] = [settings.compose.env_file]
    return {"name": _project(deployment.name), "services": {_project(deployment.name): service}}


def _user(deployment: Deployment) -> str:
    """Return the user and group of the server: those of the versions' folder, or nobody in place of root.

    Raises:
        UsageError: Nobody may not read a file that root owns.
    """
    folder = Path(deployment.model.base_path).parent
    if deployment.settings.object_store or not folder.is_dir():
        return f"{_NOBODY}:{_NOBODY}"
    about = folder.stat()
    if about.st_uid:
        return f"{about.st_uid}:{about.st_gid}"
    for path in _served_files(deployment):
        if not _readable_by_all(path):
            raise UsageError(
                f"{path}: only its owner or group can read it, and the container runs as user {_NOBODY}, not as root; "
                f"chmod -R o+rX {folder}"
            )
    return f"{_NOBODY}:{_NOBODY}"


def _served_files(deployment: Deployment) -> Iterator[Path]:
    """Yield the files and folders that the server reads."""
    folder = Path(deployment.model.base_path).parent
    yield from (folder, *((folder / models_config.FILE,) if _shared(deployment) else ()))
    for version in deployment.wanted_versions:
        yield from ((folder / version).parent, folder / version)
        for place, folders, files in os.walk(folder / version):
            yield from (Path(place, name) for name in (*folders, *files))


def _readable_by_all(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:  # the server says that it is missing
        return True
    return bool(mode & stat.S_IROTH) and (not stat.S_ISDIR(mode) or bool(mode & stat.S_IXOTH))


def _port(name: str, inside: int, outside: int, address: str) -> dict[str, Any]:
    return {"name": name, "target": inside, "published": str(outside), "host_ip": address, "protocol": "tcp"}


def _shared(deployment: Deployment) -> str | None:
    """Return ROOT/serving if the versions are there; None if the YAML names another place."""
    return None if deployment.settings.place else str(Path(deployment.model.base_path).parent)


def _volumes(deployment: Deployment) -> list[dict[str, Any]]:
    # Folders, not files: the container would keep the old file after a rename replaces it.
    volumes = [_bind("./config", CONFIG_FOLDER)] if config_files(deployment) else []
    if shared := _shared(deployment):
        return [*volumes, _bind(shared, shared)]
    if not deployment.settings.object_store:
        sources = dict.fromkeys(Path(model.base_path) for model in (deployment.model, *deployment.beside))
        volumes += [_bind(str(source), f"{MODELS_FOLDER}/{source.name}") for source in sources]
    return volumes


def _bind(source: str, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": _escape(source),
        "target": _escape(target),
        "read_only": True,
        "bind": {"create_host_path": False},  # a wrong path is an error, not an empty folder
    }


def _escape(text: str) -> str:
    """Escape dollar signs, with which Compose inserts variables."""
    return text.replace("$", "$$")


def _health(deployment: Deployment) -> dict[str, Any]:
    """Return the health check. The image has neither curl nor wget, but bash can open connections."""
    request = (
        f"exec 3<>/dev/tcp/127.0.0.1/{REST_PORT} && "
        f"printf 'GET {deployment.ready_path} HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"
    )
    return {
        "test": ["CMD", "bash", "-c", request],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": "300s",
        "start_interval": "2s",
    }


def _resources(deployment: Deployment) -> dict[str, Any]:
    resources = deployment.settings.resources
    memory = resources.memory.replace("Mi", "m").replace("Gi", "g")  # Compose's units are powers of 1024 too
    limits = {"memory": memory} | ({"cpus": f"{resources.cpu_limit:g}"} if resources.cpu_limit else {})
    return {"limits": limits, "reservations": {"cpus": f"{resources.cpu:g}", "memory": memory}}


def _project(name: str) -> str:
    return f"{name}-serving"
