"""The command line and config files of TensorFlow Serving, for every target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benison.serving import models_config
from benison.serving.deploy.settings import Batching, Serving
from benison.serving.models_config import Model, Specific
from benison.serving.server import text_protos
from benison.serving.versions.local import STABLE

# Not the image's entry point: that is a shell script, which does not pass signals to the server.
COMMAND = "/usr/bin/tensorflow_model_server"
GRPC_PORT, REST_PORT = 8500, 8501  # in the container
CONFIG_FOLDER, MODELS_FOLDER = "/config", "/models"  # in the container
METRICS_PATH = "/monitoring/prometheus/metrics"
_BATCHING, _MONITORING = "batching.config", "monitoring.config"
_NEWER_HAVE_NO_S3 = (
    "{path}: the official images of TF Serving cannot read s3:// since 2.7; give an image that can, or let each pod "
    "fetch the versions (serving.kubernetes.fetch_image), or copy them to a volume (see docs/deploy.md)"
)


@dataclass(frozen=True)
class Deployment:
    """A model to serve, with its settings and related models.

    Attributes:
        model: The model's entry in models.config on this machine; its base path is the folder of its versions.
        settings: `serving:` of its config.
        beside: Its canary and the members that were pushed with it.
        fetches: If the versions are in an object store, they are fetched from there before the server starts.
    """

    model: Model
    settings: Serving
    beside: Sequence[Model] = ()
    fetches: bool = False

    @property
    def name(self) -> str:
        """Name of the model in requests."""
        return self.model.name

    @property
    def reads_store(self) -> bool:
        """True if the server itself reads the versions from an object store."""
        return self.settings.object_store and not self.fetches

    @property
    def models(self) -> list[Model]:
        """All models to serve, with the base paths on the server."""
        place = str(self.settings.place).rstrip("/") if self.reads_store else MODELS_FOLDER
        return [
            replace(model, base_path=f"{place}/{Path(model.base_path).name}") for model in (self.model, *self.beside)
        ]

    @property
    def base_path(self) -> str:
        """Folder of the model's versions on the server."""
        return self.models[0].base_path

    @property
    def ready_path(self) -> str:
        """Path that answers 200 only while the wanted version is AVAILABLE: `stable`, or the highest without a label.

        The path of the status answers 200 for versions that failed or were unloaded too, and ignores labels there. The
        label instead of the number keeps the path the same after a promotion.
        """
        label = f"/labels/{STABLE}" if STABLE in self.model.labels else ""
        return f"/v1/models/{self.name}{label}/metadata"

    @property
    def wanted_versions(self) -> list[str]:
        """The served versions as folders NAME/VERSION below the place of the versions, the members before the model."""
        folders = {
            f"{Path(model.base_path).name}/{number}"
            for model in (*self.beside, self.model)
            for number in sorted(_wanted(model))
        }
        return sorted(folders, key=lambda folder: (folder.startswith(f"{self.name}/"), folder))

    def warnings(self) -> list[str]:
        """Return warnings about settings that do not work as expected."""
        path = self.settings.place or ""
        return [_NEWER_HAVE_NO_S3.format(path=path)] if path.startswith("s3://") else []


def _wanted(model: Model) -> frozenset[int]:
    """Return the versions that models.config names, or else those of this machine that its policy selects."""
    named = model.policy.versions if isinstance(model.policy, Specific) else frozenset()
    return named or models_config.selected_versions(model)


def flags(settings: Serving, folder: str = CONFIG_FOLDER) -> list[str]:
    """Return the server's command line, without the command.

    Args:
        settings: `serving:` of the model's config.
        folder: Folder of models.config on the server.
    """
    poll_seconds = settings.folder_poll_seconds or (60 if settings.object_store else 1)
    values = {
        "port": GRPC_PORT,
        "rest_api_port": REST_PORT,
        "model_config_file": f"{folder}/{models_config.FILE}",
        "model_config_file_poll_wait_seconds": settings.config_poll_seconds,
        # Without this it refuses to start with labels in the config, because no version is loaded yet.
        "allow_version_labels_for_unavailable_models": "true",
        "file_system_poll_wait_seconds": poll_seconds,
    }
    if settings.batching:
        values |= {"enable_batching": "true", "batching_parameters_file": f"{CONFIG_FOLDER}/{_BATCHING}"}
    if settings.monitoring:
        values |= {"monitoring_config_file": f"{CONFIG_FOLDER}/{_MONITORING}"}
    if settings.grpc_health:
        values |= {"enable_grpc_healthcheck_service": "true"}
    return [f"--{name}={value}" for name, value in values.items()]


def models_file(deployment: Deployment) -> dict[str, str]:
    """Return a copy of the current models.config, by file name."""
    return {models_config.FILE: models_config.text(deployment.models)}


def read_at_start(settings: Serving) -> dict[str, str]:
    """Return the text protos in CONFIG_FOLDER, by file name; the server must restart to read changes."""
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
