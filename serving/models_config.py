"""The models that are served, and which of their versions: TF Serving's ModelServerConfig as frozen data.

The text proto ROOT/serving/models.config decides. A model that it does not name is served by its highest version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from benison.serving import proto_text
from benison.serving.errors import UsageError
from benison.serving.files import atomic_file, file_lock
from benison.serving.visible_text import visible_line

FILE = "models.config"
PLATFORM = "tensorflow"
LARGEST_VERSION = 2**63 - 1  # int64: TF Serving ignores larger folder numbers


@dataclass(frozen=True)
class Latest:
    """Serve the highest existing versions; at least one."""

    count: int = 1


@dataclass(frozen=True)
class All:
    """Serve every existing version."""


@dataclass(frozen=True)
class Specific:
    """Serve these versions if they exist."""

    versions: frozenset[int]


Policy = Latest | All | Specific


@dataclass(frozen=True)
class Model:
    """One model of the config.

    Attributes:
        name: Its name in requests.
        base_path: Absolute path of the folder that holds its versions.
        policy: Selects the versions to serve.
        labels: Version by label.
    """

    name: str
    base_path: str
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """All models, by name."""

    models: Mapping[str, Model]


def choose(versions: Iterable[int], policy: Policy) -> list[int]:
    """Return the versions that a policy selects from the existing ones, ascending."""
    if isinstance(policy, All):
        return sorted(versions)
    if isinstance(policy, Latest):
        return sorted(versions)[-policy.count :]
    return sorted(policy.versions.intersection(versions))


def selected_versions(model: Model) -> frozenset[int]:
    """Return the versions in a model's folder that its policy selects; none if the folder cannot be listed."""
    try:
        names = os.listdir(model.base_path)
    except OSError:
        return frozenset()
    numbers = (int(name) for name in names if re.fullmatch("[0-9]{1,30}", name, re.ASCII))
    return frozenset(choose((number for number in numbers if number <= LARGEST_VERSION), model.policy))


def steps(before: Config, after: Config, select: Callable[[Model], frozenset[int]] = selected_versions) -> list[Config]:
    """Return the configs that lead from one to another without a moment when a version or a label is not served.

    A server that already serves a model moves a label only to a version that is AVAILABLE, and refuses the whole config
    if it is not. It must not unload a version that a label still points to. So the old and the new versions are served
    side by side first, then the labels move, then the old versions are unloaded. The versions of each step must be
    AVAILABLE before the next step.

    Args:
        before: The current config.
        after: The config to reach.
        select: Returns the versions of a model that its policy selects.

    Returns:
        The configs to apply in turn, ending with `after`; empty if nothing changes. The first can be `before` itself,
        because an earlier change that stopped half-way may not have reached all servers.
    """
    if before == after:
        return []
    both = dict(before.models)
    for name, new in after.models.items():
        old = before.models.get(name)
        # A new model gets its labels in the next step, because a server does not label versions that it has not loaded.
        both[name] = _side_by_side(old, new, select) if old else replace(new, labels={})
    moved = {**both, **{name: replace(both[name], labels=new.labels) for name, new in after.models.items()}}
    configs = [Config(both), Config(moved), after]
    return [step for step, following in pairwise(configs) if step != following] + [after]


def text(models: Iterable[Model]) -> str:
    """Return the models as a text proto ModelServerConfig, in their order."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    proto = model_server_config_pb2.ModelServerConfig()
    proto.model_config_list.SetInParent()  # an empty list must be written too
    for model in models:
        entry = proto.model_config_list.config.add(name=model.name, base_path=model.base_path, model_platform=PLATFORM)
        _set_policy(entry.model_version_policy, model.policy)
        for label, version in sorted(model.labels.items()):
            entry.version_labels[label] = version
    return str(text_format.MessageToString(proto))


def from_proto(proto: Any) -> Config:
    """Convert a config from a file or from the reload RPC.

    Args:
        proto: tensorflow.serving.ModelServerConfig.

    Raises:
        UsageError: It is empty or a custom config, lists a model twice, or has a model without a platform, with another
            platform or with a relative base path. The messages are the same as TF Serving's, which takes an empty one.
    """
    if proto.WhichOneof("config") == "custom_model_config":
        raise UsageError("ModelServer does not support custom model config; expected model_config_list")
    if proto.WhichOneof("config") is None:
        raise UsageError("it is empty; write `model_config_list {}` to serve no model")
    models: dict[str, Model] = {}
    for entry in proto.model_config_list.config:
        if entry.name in models:
            raise UsageError(f"Illegal to list model {entry.name} multiple times in config list")
        model = Model(entry.name, entry.base_path, _policy(entry.model_version_policy), dict(entry.version_labels))
        check(model)
        _check_platform(entry)
        models[entry.name] = model
    return Config(models)


def check(model: Model) -> None:
    """Check that a model's base path is absolute, and that its texts can stand in a log.

    Raises:
        UsageError: The path is relative, or a text has control characters, such as a line break.
    """
    for kind, text in (("name", model.name), ("base path", model.base_path), *(("label", key) for key in model.labels)):
        if visible_line(text) != text:
            raise UsageError(
                f"model {visible_line(model.name)}: its {kind} {visible_line(text)} has control characters"
            )
    if not PurePosixPath(model.base_path).is_absolute():
        raise UsageError(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            + ("" if "://" not in model.base_path else "; this server reads local folders only")
        )


def read(folder: Path) -> Config:
    """Read ROOT/serving/models.config; return a config without models if there is no such file.

    Raises:
        UsageError: It is not a ModelServerConfig, or TF Serving would refuse it too.
    """
    from tensorflow_serving.config import model_server_config_pb2

    file = folder / FILE
    if not file.exists():
        return Config({})
    proto = proto_text.read(str(file), model_server_config_pb2.ModelServerConfig())
    try:
        return from_proto(proto)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def change(folder: Path, edit: Callable[[Config], Config]) -> Config:
    """Change models.config, whole or not at all; other changes wait.

    Args:
        folder: ROOT/serving.
        edit: Returns the new config for the current one.

    Returns:
        The new config.

    Raises:
        UsageError: As `read`.
        OSError: It cannot be written and is unchanged.
    """
    # One writer at a time: each reads the file and writes all of it.
    with file_lock.hold(folder / f".{FILE}.lock"):
        config = read(folder)
        changed = edit(config)
        if changed != config:
            atomic_file.write(folder / FILE, text(changed.models.values()))
        return changed


def name_all(folder: Path, names: Sequence[str]) -> Config:
    """Add models to models.config; see `with_models`.

    Raises:
        UsageError: As `change`.
        OSError: As `change`.
    """
    return change(folder, lambda config: with_models(config, folder, names))


def with_models(config: Config, folder: Path, names: Sequence[str]) -> Config:
    """Return a config that names some models, with the other models unchanged.

    A model that it did not name is served by its highest version. A model that it names keeps its versions and labels.
    Its base path becomes the one in this folder, which may have been moved; so do those of its canary and members.

    Args:
        config: The config before.
        folder: ROOT/serving.
        names: Pushed models.
    """
    old_folders = {Path(config.models[name].base_path).parent for name in names if name in config.models}
    models = {
        name: _with_base(model, folder / Path(model.base_path).name)
        if Path(model.base_path).parent in old_folders
        else model
        for name, model in config.models.items()
    }
    added = {name: _with_base(models.get(name, Model(name, "")), folder / name) for name in names}
    return Config({**models, **added})


def _with_base(model: Model, base: Path) -> Model:
    return replace(model, base_path=str(base.absolute()))


def _side_by_side(old: Model, new: Model, select: Callable[[Model], frozenset[int]]) -> Model:
    """Return a model that serves the versions of both, with the old labels."""
    if old == new:
        return old
    versions = select(old)
    labels = {label: version for label, version in old.labels.items() if version in versions}
    return replace(new, policy=Specific(versions | select(new)), labels=labels)


def _policy(proto: Any) -> Policy:
    choice = proto.WhichOneof("policy_choice")
    if choice == "all":
        return All()
    if choice == "specific":
        return Specific(frozenset(proto.specific.versions))
    return Latest(max(proto.latest.num_versions, 1))


def _set_policy(proto: Any, policy: Policy) -> None:
    if isinstance(policy, All):
        proto.all.SetInParent()
    elif isinstance(policy, Latest):
        proto.latest.num_versions = policy.count
    else:
        proto.specific.SetInParent()  # an empty list must be written too
        proto.specific.versions.extend(sorted(policy.versions))


def _check_platform(entry: Any) -> None:
    if entry.model_type and entry.model_platform:
        raise UsageError(
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
        )
    platform = entry.model_platform or (PLATFORM if entry.model_type == 1 else "")
    if not platform:
        raise UsageError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if platform != PLATFORM:
        raise UsageError(f"Model {entry.name} requests unsupported platform {platform}")
