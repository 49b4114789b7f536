"""ROOT/serving/models.config: which models are served from a ROOT, and which of their versions.

TensorFlow Serving's ModelServerConfig as a text proto. A model that it does not name is served by its highest version.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.server import model_config
from serving.server.model_config import All, Config, Latest, Model, Policy

FILE = "models.config"


def text(models: Iterable[Model]) -> str:
    """The models as a text proto ModelServerConfig, in their order."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    proto = model_server_config_pb2.ModelServerConfig()
    for model in models:
        entry = proto.model_config_list.config.add(
            name=model.name, base_path=model.base_path, model_platform=model_config.PLATFORM
        )
        _set_policy(entry.model_version_policy, model.policy)
        for label, version in sorted(model.labels.items()):
            entry.version_labels[label] = version
    return str(text_format.MessageToString(proto))


def read(folder: Path) -> Config:
    """What ROOT/serving/models.config says; no models where there is no such file.

    Raises:
        UsageError: it is no ModelServerConfig.
        RequestError: it says something that TF Serving refuses, too.
    """
    file = folder / FILE
    return model_config.read(str(file)) if file.exists() else Config({})


def name_all(folder: Path, names: Sequence[str]) -> Config:
    """Sees to it that models.config names some models, and leaves what it says of the others.

    A model that it did not name is served by its highest version. One that it names keeps its versions and labels; its
    base path becomes the one in this folder, which may have been moved.

    Args:
        folder: ROOT/serving.
        names: of pushed models.

    Returns:
        What the file now says.

    Raises:
        UsageError, RequestError: as `read`.
        OSError: it cannot be written; it is as it was.
    """
    with _locked(folder):
        config = read(folder)
        bases = {name: str(folder.absolute() / name) for name in names}
        wanted = {
            name: replace(config.models.get(name, Model(name, base)), base_path=base) for name, base in bases.items()
        }
        changed = Config({**config.models, **wanted})
        if changed != config:
            _write(folder / FILE, text(changed.models.values()))
        return changed


def _set_policy(proto: Any, policy: Policy) -> None:
    if isinstance(policy, All):
        proto.all.SetInParent()
    elif isinstance(policy, Latest):
        proto.latest.num_versions = policy.count
    else:
        proto.specific.versions.extend(sorted(policy.versions))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: each reads the file, and writes it whole."""
    with (folder / f".{FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(path: Path, content: str) -> None:
    """A server that polls the file sees the old one or the new one."""
    descriptor, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)  # a server under another user reads it
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
