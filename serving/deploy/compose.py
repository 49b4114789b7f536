"""TensorFlow Serving under Docker Compose."""

from __future__ import annotations

from typing import Any

from serving.deploy.tf_serving import (
    COMMAND,
    CONFIG_FOLDER,
    GRPC_PORT,
    MODELS_FOLDER,
    REST_PORT,
    Deployment,
    flags,
)


def document(deployment: Deployment) -> dict[str, Any]:
    """compose.yaml; the config files are expected in `config/` beside it."""
    settings = deployment.settings
    service: dict[str, Any] = {
        "image": settings.image,
        "entrypoint": [COMMAND],
        "command": flags(settings),
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
        # A dollar sign is where Compose puts its own variables in.
        service["environment"] = {name: text.replace("$", "$$") for name, text in settings.environment.items()}
    if settings.compose.env_file:
        service["env_file"] = [settings.compose.env_file]
    return {"name": _project(deployment.name), "services": {_project(deployment.name): service}}


def _port(name: str, inside: int, outside: int, address: str) -> dict[str, Any]:
    return {"name": name, "target": inside, "published": str(outside), "host_ip": address, "protocol": "tcp"}


def _volumes(deployment: Deployment) -> list[dict[str, Any]]:
    # The folder, not the file: a file that is replaced by a rename would stay the old one in the container.
    volumes = [_bind("./config", CONFIG_FOLDER)]
    if not deployment.settings.object_store:
        volumes.append(_bind(deployment.model.base_path, f"{MODELS_FOLDER}/{deployment.name}"))
    return volumes


def _bind(source: str, target: str) -> dict[str, Any]:
    return {
        "type": "bind",
        "source": source.replace("$", "$$"),
        "target": target,
        "read_only": True,
        "bind": {"create_host_path": False},  # a wrong path is an error, not an empty folder
    }


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
