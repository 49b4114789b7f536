"""Which models are served: ModelServerConfig, from a file, from flags or by the reload RPC, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from serving.server import text_protos
from serving.server.status import Code, RequestError, invalid

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class Latest:
    """The highest versions there are; at least one."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Every version there is."""


@dataclass(frozen=True)
class Specific:
    """These versions, where they exist."""

    versions: frozenset[int]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class Model:
    """One model of the config.

    Attributes:
        name: as in requests.
        base_path: absolute; holds a folder per version.
        policy: which of its versions are to be served.
        labels: version by label.
    """

    name: str
    base_path: str
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """All models, by name."""

    models: Mapping[str, Model]


def single(name: str, base_path: str) -> Config:
    """The config of --model_name and --model_base_path.

    Raises:
        RequestError: the path is relative.
    """
    model = Model(name, base_path)
    _check_path(model)
    return Config({name: model})


def read(path: str) -> Config:
    """The config in a text proto file.

    Raises:
        UsageError: the file cannot be read or is no ModelServerConfig.
        RequestError: it says something that TF Serving refuses, too.
    """
    from tensorflow_serving.config import model_server_config_pb2

    return from_proto(text_protos.read(path, model_server_config_pb2.ModelServerConfig()))


def from_proto(proto: Any) -> Config:
    """The config as the reload RPC brings it.

    Args:
        proto: tensorflow.serving.ModelServerConfig.

    Raises:
        RequestError: a custom config, a model listed twice, without or with another platform, a relative base path.
    """
    kind = proto.WhichOneof("config")
    if kind == "custom_model_config":
        raise invalid("ModelServer does not support custom model config; expected model_config_list")
    models: dict[str, Model] = {}
    for entry in proto.model_config_list.config:
        if entry.name in models:
            raise invalid(f"Illegal to list model {entry.name} multiple times in config list")
        model = Model(entry.name, entry.base_path, _policy(entry.model_version_policy), dict(entry.version_labels))
        _check_path(model)
        _check_platform(entry)
        models[entry.name] = model
    return Config(models)


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


def _policy(proto: Any) -> Policy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(proto.specific.versions))
    return Latest(max(proto.latest.num_versions, 1))


def _check_path(model: Model) -> None:
    if not PurePosixPath(model.base_path).is_absolute():
        raise invalid(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            + ("" if "://" not in model.base_path else "; this server reads local folders only")
        )


def _check_platform(entry: Any) -> None:
    platform = entry.model_platform or (PLATFORM if entry.model_type == 1 else "")
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if platform != PLATFORM:
        raise invalid(f"Model {entry.name} requests unsupported platform {platform}")
