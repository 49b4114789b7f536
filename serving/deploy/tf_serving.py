"""What TensorFlow Serving is told, wherever it runs: its command line and its config files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benison.serving import models_config
from benison.serving.deploy.settings import Batching, Serving
from benison.serving.models_config import Model
from benison.serving.server import text_protos

# Named rather than left to the image's entry point, a shell script that passes no signal on to the server.
COMMAND = "/usr/bin/tensorflow_model_server"
GRPC_PORT, REST_PORT = 8500, 8501  # in the container
CONFIG_FOLDER, MODELS_FOLDER = "/config", "/models"  # in the container
METRICS_PATH = "/monitoring/prometheus/metrics"
_BATCHING, _MONITORING = "batching.config", "monitoring.config"
_NEWER_HAVE_NO_S3 = (
    "{path}: the images of TF Serving from 2.7 on cannot read s3:// by themselves; give an image that can, "
    "or copy the versions to a volume (docs/deploy.md says how)"
)


@dataclass(frozen=True)
class Deployment:
    """One model to be served, and what goes with it.

    Attributes:
        model: as models.config has it on this machine; its base path is where its versions are.
        settings: `serving:` of its config.
        beside: its canary, and members that were pushed with it, in the same form.
    """

    model: Model
    settings: Serving
    beside: Sequence[Model] = ()

    @property
    def name(self) -> str:
        """The model's name, as in requests."""
        return self.model.name

    @property
    def models(self) -> list[Model]:
        """All that is served, with base paths as the server finds them."""
        place = str(self.settings.place).rstrip("/") if self.settings.object_store else MODELS_FOLDER
        return [
            replace(model, base_path=f"{place}/{Path(model.base_path).name}") for model in (self.model, *self.beside)
        ]

    @property
    def base_path(self) -> str:
        """Where the server finds the model's versions."""
        return self.models[0].base_path

    @property
    def status_path(self) -> str:
        """What answers 200 once the model serves: the REST port opens no sooner."""
        return f"/v1/models/{self.name}"

    def warnings(self) -> list[str]:
        """What will not work as it may seem to."""
        path = self.settings.place or ""
        return [_NEWER_HAVE_NO_S3.format(path=path)] if path.startswith("s3://") else []


def flags(settings: Serving, folder: str = CONFIG_FOLDER) -> list[str]:
    """The server's command line, without the command.

    Args:
        settings: `serving:` of the model's config.
        folder: where it finds models.config.
    """
    polls = settings.folder_poll_seconds or (60 if settings.object_store else 1)
    given = {
        "port": GRPC_PORT,
        "rest_api_port": REST_PORT,
        "model_config_file": f"{folder}/{models_config.FILE}",
        "model_config_file_poll_wait_seconds": settings.config_poll_seconds,
        # Else it refuses to start with a config that labels a version, because none is loaded yet.
        "allow_version_labels_for_unavailable_models": "true",
        "file_system_poll_wait_seconds": polls,
    }
    if settings.batching:
        given |= {"enable_batching": "true", "batching_parameters_file": f"{CONFIG_FOLDER}/{_BATCHING}"}
    if settings.monitoring:
        given |= {"monitoring_config_file": f"{CONFIG_FOLDER}/{_MONITORING}"}
    if settings.grpc_health:
        given |= {"enable_grpc_healthcheck_service": "true"}
    return [f"--{name}={value}" for name, value in given.items()]


def models_file(deployment: Deployment) -> dict[str, str]:
    """models.config by its name, as it is now: a copy."""
    return {models_config.FILE: models_config.text(deployment.models)}


def read_at_start(settings: Serving) -> dict[str, str]:
    """Text protos by file name, which lie in CONFIG_FOLDER, and whose change needs a new start."""
    files = {}
    if settings.batching:
        files[_BATCHING] = _batching(settings.batching, max(1, math.ceil(settings.resources.cpu)))
    if settings.monitoring:
        files[_MONITORING] = _monitoring()
    return files


def _batching(batching: Batching, cores: int) -> str:
    proto = text_protos.message_class("BatchingParameters")()
    proto.max_batch_size.value = batching.max_batch_size
    proto.max_execution_batch_size.value = batching.max_execution_batch_size
    proto.enable_large_batch_splitting.value = True
    proto.batch_timeout_micros.value = batching.batch_timeout_micros
    proto.max_enqueued_batches.value = batching.max_enqueued_batches
    proto.num_batch_threads.value = batching.num_batch_threads or cores
    return _text(proto)


def _monitoring() -> str:
    proto = text_protos.message_class("MonitoringConfig")()
    proto.prometheus_config.enable = True
    proto.prometheus_config.path = METRICS_PATH
    return _text(proto)


def _text(proto: Any) -> str:
    from google.protobuf import text_format

    return str(text_format.MessageToString(proto))
