"""Reads the server's config from a file, from flags or from the reload RPC, with the errors that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.serving import models_config, proto_text
from benison.serving.errors import UsageError
from benison.serving.models_config import Config, Model
from benison.serving.server.status import Code, RequestError, invalid


def single_model(name: str, base_path: str) -> Config:
    """Return the config for --model_name and --model_base_path.

    Raises:
        RequestError: The path is relative, or a text has control characters.
    """
    model = Model(name, base_path)
    try:
        models_config.check(model)
    except UsageError as error:
        raise invalid(str(error)) from None
    return Config({name: model})


def read(path: str) -> Config:
    """Read the config from a text proto file.

    Raises:
        UsageError: The file cannot be read or is not a ModelServerConfig.
        RequestError: TF Serving would refuse the config.
    """
    from tensorflow_serving.config import model_server_config_pb2

    proto = proto_text.read(path, model_server_config_pb2.ModelServerConfig())
    try:
        return from_proto(proto)
    except RequestError as error:
        raise RequestError(error.code, f"{path}: {error}") from None


def from_proto(proto: Any) -> Config:
    """Read the config from the reload RPC.

    Args:
        proto: a tensorflow.serving.ModelServerConfig.

    Raises:
        RequestError: INVALID_ARGUMENT, see `models_config.from_proto`.
    """
    try:
        return models_config.from_proto(proto)
    except UsageError as error:
        raise invalid(str(error)) from None


def check_labels(
    new: Config, labels: Mapping[str, Mapping[str, int]], available: Mapping[str, frozenset[int]], allow_new: bool
) -> dict[str, dict[str, int]]:
    """Check the labels of a new config and return them.

    Args:
        new: the new config.
        labels: the current labels by model.
        available: the available versions by model.
        allow_new: --allow_version_labels_for_unavailable_models: a label that is new or does not move may name a
            version that is not available.

    Returns:
        The version by label by model.

    Raises:
        RequestError: A label names a version that is not available.
    """
    for model in new.models.values():
        for label, version in model.labels.items():
            moved = labels.get(model.name, {}).get(label, version) != version
            if version not in available.get(model.name, frozenset()) and (moved or not allow_new):
                raise RequestError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, "
                    "which is not currently available for inference",
                )
    return {model.name: dict(model.labels) for model in new.models.values() if model.labels}
