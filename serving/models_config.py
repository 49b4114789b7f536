"""Which models are served, and which of their versions: TF Serving's ModelServerConfig as frozen data.

ROOT/serving/models.config, a text proto of it, is what decides. A model that it does not name is served by its highest
version.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from benison.serving import proto_text
from benison.serving.errors import UsageError
from benison.serving.files import atomic_file

FILE = "models.config"
PLATFORM = "tensorflow"
LARGEST_VERSION = 2**63 - 1  # int64: TF Serving ignores folders beyond


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


def choose(found: Iterable[int], policy: Policy) -> list[int]:
    """Of the versions found those that a policy wants, ascending."""
    if isinstance(policy, All):
        return sorted(found)
    if isinstance(policy, Latest):
        return sorted(found)[-policy.count :]
    return sorted(policy.versions.intersection(found))


def wanted(model: Model) -> frozenset[int]:
    """The versions that a model's policy wants, as its folder is now; none where it cannot be listed."""
    try:
        names = os.listdir(model.base_path)
    except OSError:
        return frozenset()
    numbers = (int(name) for name in names if re.fullmatch("[0-9]{1,30}", name, re.ASCII))
    return frozenset(choose((number for number in numbers if number <= LARGEST_VERSION), model.policy))


def steps(before: Config, after: Config, wanted: Callable[[Model], frozenset[int]] = wanted) -> list[Config]:
    """The way from one config to another on which no version is without a successor, and no label without a version.

    A server that already serves a model moves one of its labels only onto a version that is AVAILABLE, and refuses the
    whole config otherwise; and it must not unload what a label still points to. So first the old and the new versions
    are served side by side, then the labels are moved, then the old versions go. Before each step those of the one
    before have to be AVAILABLE.

    Args:
        before: what is served.
        after: what is to be served.
        wanted: a model's versions by its policy.

    Returns:
        The configs to be applied one after the other, `after` the last; empty where nothing changes. The first may be
        `before` itself: whoever broke off here need not have told all servers.
    """
    if before == after:
        return []
    both = dict(before.models)
    for name, new in after.models.items():
        old = before.models.get(name)
        # A model that is new has no labels yet: what a server does not serve it does not label.
        both[name] = _side_by_side(old, new, wanted) if old else replace(new, labels={})
    moved = {**both, **{name: replace(both[name], labels=new.labels) for name, new in after.models.items()}}
    way = [Config(both), Config(moved), after]
    return [step for step, following in pairwise(way) if step != following] + [after]


def text(models: Iterable[Model]) -> str:
    """The models as a text proto ModelServerConfig, in their order."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    proto = model_server_config_pb2.ModelServerConfig()
    proto.model_config_list.SetInParent()  # no models, too, is something to say
    for model in models:
        entry = proto.model_config_list.config.add(name=model.name, base_path=model.base_path, model_platform=PLATFORM)
        _set_policy(entry.model_version_policy, model.policy)
        for label, version in sorted(model.labels.items()):
            entry.version_labels[label] = version
    return str(text_format.MessageToString(proto))


def from_proto(proto: Any) -> Config:
    """A config as the reload RPC brings it, or a file holds it.

    Args:
        proto: tensorflow.serving.ModelServerConfig.

    Raises:
        UsageError: a custom config, a model listed twice, without or with another platform, a relative base path; in
            TF Serving's words.
    """
    if proto.WhichOneof("config") == "custom_model_config":
        raise UsageError("ModelServer does not support custom model config; expected model_config_list")
    models: dict[str, Model] = {}
    for entry in proto.model_config_list.config:
        if entry.name in models:
            raise UsageError(f"Illegal to list model {entry.name} multiple times in config list")
        model = Model(entry.name, entry.base_path, _policy(entry.model_version_policy), dict(entry.version_labels))
        check_path(model)
        _check_platform(entry)
        models[entry.name] = model
    return Config(models)


def check_path(model: Model) -> None:
    """Makes sure that a model's base path is absolute.

    Raises:
        UsageError: it is not.
    """
    if not PurePosixPath(model.base_path).is_absolute():
        raise UsageError(
            f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            + ("" if "://" not in model.base_path else "; this server reads local folders only")
        )


def read(folder: Path) -> Config:
    """What ROOT/serving/models.config says; no models where there is no such file.

    Raises:
        UsageError: it is no ModelServerConfig, or says something that TF Serving refuses, too.
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


def change(folder: Path, how: Callable[[Config], Config]) -> Config:
    """Changes models.config, whole or not at all; nobody else changes it meanwhile.

    Args:
        folder: ROOT/serving.
        how: from what the file says to what it is to say.

    Returns:
        What the file now says.

    Raises:
        UsageError: as `read`.
        OSError: it cannot be written; it is as it was.
    """
    with _locked(folder):
        config = read(folder)
        changed = how(config)
        if changed != config:
            atomic_file.write(folder / FILE, text(changed.models.values()))
        return changed


def name_all(folder: Path, names: Sequence[str]) -> Config:
    """Sees to it that models.config names some models, and leaves what it says of the others.

    A model that it did not name is served by its highest version. One that it names keeps its versions and labels; its
    base path becomes the one in this folder, which may have been moved, and so do those of its canary and members.

    Args:
        folder: ROOT/serving.
        names: of pushed models.

    Returns:
        What the file now says.

    Raises:
        UsageError, OSError: as `change`.
    """

    def named(config: Config) -> Config:
        before = {Path(config.models[name].base_path).parent for name in names if name in config.models}
        models = {
            name: _at(folder / Path(model.base_path).name, model) if Path(model.base_path).parent in before else model
            for name, model in config.models.items()
        }
        return Config({**models, **{name: _at(folder / name, models.get(name, Model(name, ""))) for name in names}})

    return change(folder, named)


def _at(base: Path, model: Model) -> Model:
    return replace(model, base_path=str(base.absolute()))


def _side_by_side(old: Model, new: Model, wanted: Callable[[Model], frozenset[int]]) -> Model:
    """What both want, by the old labels."""
    if old == new:
        return old
    there = wanted(old)
    labels = {label: version for label, version in old.labels.items() if version in there}
    return replace(new, policy=Specific(there | wanted(new)), labels=labels)


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
        proto.specific.SetInParent()  # none of them, too, is something to say
        proto.specific.versions.extend(sorted(policy.versions))


def _check_platform(entry: Any) -> None:
    platform = entry.model_platform or (PLATFORM if entry.model_type == 1 else "")
    if not platform:
        raise UsageError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    if platform != PLATFORM:
        raise UsageError(f"Model {entry.name} requests unsupported platform {platform}")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: each reads the file, and writes it whole."""
    with (folder / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
