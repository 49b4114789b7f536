"""The record of what a version was made from, in its manifest: config, code, schema, package versions, machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benison.pipelines.code.user_code import UserCode
from benison.pipelines.config import AROUND_RUNS, Pipeline
from benison.serving.errors import BenisonError
from benison.serving.files import checksum

# About what happens after a model is made; may name secrets.
_LATER = frozenset({"serving"}) | AROUND_RUNS
LEFT_OUT = "..."  # stands for a value that may be a secret, in the record of a run
_PACKAGES = (
    "benison",
    "tfx",
    "tensorflow",
    "tensorflow-transform",
    "tensorflow-data-validation",
    "tfx-bsl",
    "keras",
    "keras-tuner",
    "apache-beam",
    "numpy",
    "scikit-learn",
)


def record(config: Pipeline) -> dict[str, Any]:
    """Return the record of a pipeline as plain data.

    It has the config as JSON text, with the values of the run in it (`--set`, the form, the seed) and without what
    happens after the model is made; and hashes of the code at each key of the YAML, and of the curated schema.

    Raises:
        UsageError: a function does not exist.
    """
    return {
        # As text, because a manifest sorts its keys, and the order of members is part of the model.
        "config": config.model_dump_json(exclude=set(_LATER)),
        "code": {key: config.user_code(key).hash() for key in sorted(config.references)},
        **({"models": {name: _model(config, name) for name in config.foreign}} if config.foreign else {}),
        "schema": _schema(config),
        "packages": package_versions(),
        "machine": _machine(),
    }


def _model(config: Pipeline, member: str) -> str:
    """Return the hash of a finished model's files."""
    return UserCode((), (config.foreign_files(member),)).hash()


def recordable(sets: Mapping[str, str]) -> dict[str, str]:
    """Return values of `--set` for a record: `...` stands for those that are left out, because they may be secrets."""
    return {key: LEFT_OUT if key.partition(".")[0] in _LATER else value for key, value in sets.items()}


def config_of(recorded: Mapping[str, Any], now: Callable[[str], str] = str) -> Pipeline:
    """Return the config of a record; `serving` has its defaults, so nobody is notified and nothing is stored.

    Args:
        recorded: the record.
        now: returns where an absolute path is now.

    Raises:
        ValueError: another release wrote it, and this one does not know a key.
    """
    return Pipeline.model_validate(_with_paths(json.loads(recorded["config"]), now))


def _with_paths(value: Any, now: Callable[[str], str]) -> Any:
    """Return a value of JSON with each absolute path, also `FILE:FUNCTION`, as `now` has it."""
    if isinstance(value, dict):
        return {key: _with_paths(item, now) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_paths(item, now) for item in value]
    return now(value) if isinstance(value, str) and os.path.isabs(value) else value


def changes(recorded: Mapping[str, Any], config: Pipeline) -> list[str]:
    """Return what is no longer as it was recorded, of code and schema: one line each."""
    lines = []
    for key, before in recorded["code"].items():
        try:
            now = config.user_code(key).hash() if key in config.references else None
        except BenisonError as error:
            lines.append(f"{key}: {error}")
        else:
            if now != before:
                lines.append(f"{key}: the code of {config.references.get(key, 'it')}, or what it reads, has changed")
    for name, before in recorded.get("models", {}).items():
        try:
            now = _model(config, name) if name in config.foreign else None
        except BenisonError as error:
            lines.append(f"ensemble.members.{name}: {error}")
        else:
            if now != before:
                lines.append(f"ensemble.members.{name}.path: the model has changed")
    if recorded["schema"] != _schema(config):
        gone = "" if config.schema_path.is_file() else "; the file is gone"
        lines.append(f"schema: {config.schema_path} has changed{gone}")
    return lines


def other_versions(recorded: Mapping[str, Any]) -> list[str]:
    """Return what this machine has other versions of than the record: one line each. Results may differ for them."""
    before = {**recorded["packages"], **recorded["machine"]}
    now = {**package_versions(), **_machine()}
    return [
        f"{name}: {before.get(name) or 'none'} then, {now.get(name) or 'none'} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _schema(config: Pipeline) -> str | None:
    file = Path(config.schema_path)
    return checksum.of_file(file) if file.is_file() else None


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a model depends on, by name."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _machine() -> dict[str, str]:
    # Sums of floats depend on the number of threads and on the instructions of the processor.
    return {"processor": platform.machine(), "cores": str(len(os.sched_getaffinity(0)))}
