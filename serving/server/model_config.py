"""The server's config, from a file, from flags or by the reload RPC, with the errors that its clients are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.serving import models_config, proto_text
from benison.serving.errors import UsageError
from benison.serving.models_config import Config, Model
from benison.serving.server.status import Code, RequestError, invalid


def single(name: str, base_path: str) -> Config:
    """The config of --model_name and --model_base_path.

    Raises:
        RequestError: the path is relative.
    """
    model = Model(name, base_path)
    try:
        models_config.check_path(model)
    except UsageError as error:
        raise invalid(str(error)) from None
    return Config({name: model})


def read(path: str) -> Config:
    """The config in a text proto file.

    Raises:
        UsageError: the file cannot be read or is no ModelServerConfig.
        RequestError: it says something that TF Serving refuses, too.
    """
    from tensorflow_serving.config import model_server_config_pb2

    return from_proto(proto_text.read(path, model_server_config_pb2.ModelServerConfig()))


def from_proto(proto: Any) -> Config:
    """The config as the reload RPC brings it.

    Args:
        proto: tensorflow.serving.ModelServerConfig.

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
    """The labels of a config, if they may be given.

    Args:
        new: the config that asks for them.
        labels: those given now, by model.
        available: versions by model that serve now.
        allow_new: --allow_version_labels_for_unavailable_models: a label that is not given yet, or not moved, may name
            a version that does not serve.

    Returns:
        Version by label by model.

    Raises:
        RequestError: a label is for a version that does not serve.
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
