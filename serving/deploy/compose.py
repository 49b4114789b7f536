"""TensorFlow Serving under Docker Compose.

Where the versions are in ROOT, the container has ROOT/serving under the same path and serves by ROOT's own
models.config: so it follows `benison promote` and `rollback` as any server on this machine, and takes what the reload
RPC brings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def config_files(deployment: Deployment) -> dict[str, str]:
    """What lies in `config/` beside compose.yaml, by name."""
    copied = {} if _shared(deployment) else models_file(deployment)
    return {**copied, **read_at_start(deployment.settings)}


def document(deployment: Deployment) -> dict[str, Any]:
    """compose.yaml."""
    settings = deployment.settings
    words = flags(settings, _shared(deployment) or CONFIG_FOLDER)
    service: dict[str, Any] = {
        "image": settings.image,
        "entrypoint": [COMMAND],
        "command": [_plain(word) for word in words],
        "init": True,  # the server handles no signals, and without this the kernel would keep SIGTERM from it
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
        service["environment"] = {name: _plain(text) for name, text in settings.environment.items()}
    if settings.compose.env_file:
        service["env_file"] = [settings.compose.env_file]
    return {"name": _project(deployment.name), "services": {_project(deployment.name): service}}


def _port(name: str, inside: int, outside: int, address: str) -> dict[str, Any]:
    return {"name": name, "target": inside, "published": str(outside), "host_ip": address, "protocol": "tcp"}


def _shared(deployment: Deployment) -> str | None:
    """ROOT/serving, where the versions are there; None where the YAML says that they are elsewhere."""
    return None if deployment.settings.place else str(Path(deployment.model.base_path).parent)


def _volumes(deployment: Deployment) -> list[dict[str, Any]]:
    # Folders, not files: a file that is replaced by a rename would stay the old one in the container.
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
        "source": _plain(source),
        "target": _plain(target),
        "read_only": True,
        "bind": {"create_host_path": False},  # a wrong path is an error, not an empty folder
    }


def _plain(text: str) -> str:
    """A dollar sign is where Compose puts its own variables in."""
    return text.replace("$", "$$")


def _health(deployment: Deployment) -> dict[str, Any]:
    """The image has neither curl nor wget, but bash, which opens a connection by itself."""
    ask = (
        f"exec 3<>/dev/tcp/127.0.0.1/{REST_PORT} && "
        f"printf 'GET {deployment.status_path} HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '\"AVAILABLE\"' <&3"
    )
    return {
        "test": ["CMD", "bash", "-c", ask],
        "interval": "10s",
        "timeout": "5s",
        "retries": 3,
        "start_period": "300s",
        "start_interval": "2s",
    }


def _resources(deployment: Deployment) -> dict[str, Any]:
    wanted = deployment.settings.resources
    memory = wanted.memory.replace("Mi", "m").replace("Gi", "g")  # of 1024, as Compose counts them too
    limits = {"memory": memory} | ({"cpus": f"{wanted.cpu_limit:g}"} if wanted.cpu_limit else {})
    return {"limits": limits, "reservations": {"cpus": f"{wanted.cpu:g}", "memory": memory}}


def _project(name: str) -> str:
    return f"{name}-serving"
