"""The part of a node's cache key that Benison adds to TFX's: the code that it uses, the files that it names, versions.

TFX hashes inputs, properties and the executor's name. A function that is named by its dotted path can change while all
of these stay the same, and so can a schema file.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.code import fingerprint
from benison.pipelines.code.user_code import UserCode

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

_FUNCTIONS = ("run_fn", "tuner_fn", "preprocessing_fn", "stats_options_updater_fn", "trainer_fn", "input_fn")
USER_CODE = "benison_user_code"  # key of a custom_config: the fields of `UserCode`, from `graph`


def hash_node(node: pipeline_pb2.PipelineNode, executor: Any, driver: Any, users: str) -> str:
    """Hash the content of a node's code and files.

    Args:
        node: from the compiled pipeline.
        executor: its executor's spec.
        driver: its driver's spec, or None.
        users: from `hash_functions`.

    Returns:
        SHA-256, hex.
    """
    digest = hashlib.sha256()
    for part in _parts(node, executor, driver, users):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def hash_functions(node: pipeline_pb2.PipelineNode) -> str:
    """Hash the user's functions that a node of Benison runs (`UserCode.hash`); '' if there are none."""
    user_code = _user_code(_texts(node).get("custom_config", ""))
    return user_code.hash() if user_code else ""


def runs_user_code(node: pipeline_pb2.PipelineNode, executor: Any, driver: Any) -> bool:
    """Return whether a node runs code of the user; the arguments are those of `hash_node`."""
    parameters = _texts(node)
    if parameters.get("module_file") or _user_code(parameters.get("custom_config", "")):
        return True
    paths = [*map(_class_path, (executor, driver)), *(parameters.get(name, "") for name in _FUNCTIONS)]
    own = (path for path in paths if path and not path.startswith("benison."))
    return any(fingerprint.executor(path) != fingerprint.INSTALLED for path in own)


def _texts(node: pipeline_pb2.PipelineNode) -> dict[str, str]:
    return {name: value.field_value.string_value for name, value in node.parameters.parameters.items()}


def _parts(node: pipeline_pb2.PipelineNode, executor: Any, driver: Any, users: str) -> Iterator[str]:
    yield version("benison")
    yield version("tfx")
    for spec in (executor, driver):
        path = _class_path(spec)
        if path:
            yield fingerprint.executor(path)
    parameters = _texts(node)
    for name in _FUNCTIONS:
        if parameters.get(name):
            yield fingerprint.executor(parameters[name])
    if parameters.get("schema_file"):
        yield fingerprint.files([Path(parameters["schema_file"])])
    if parameters.get("module_file"):
        yield fingerprint.module_file(Path(parameters["module_file"]))
    if parameters.get("module_path"):
        yield _hash_packed(parameters["module_path"])
    if users:
        yield users


def _hash_packed(module_path: str) -> str:
    """Hash a `module_file` that TFX has packed, and the files outside of its wheel that it imports.

    Args:
        module_path: `name@/path/of.whl`; or a module on `sys.path`, which is hashed like the module of an executor.
    """
    name, _, wheel = module_path.partition("@")
    if not wheel:
        return fingerprint.executor(f"{name}.*")
    if "://" in wheel:
        from tfx.utils import io_utils

        wheel = io_utils.ensure_local(wheel)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
        return fingerprint.module_file(Path(folder, f"{name}.py"))


def _class_path(spec: Any) -> str:
    if spec is None:
        return ""
    beam = getattr(spec, "python_executor_spec", None)
    return str(getattr(beam or spec, "class_path", ""))


def _user_code(custom_config: str) -> UserCode | None:
    try:
        config = json.loads(custom_config or "null")
    except ValueError:  # the custom_config of a component that is not Benison's
        return None
    return UserCode(**config[USER_CODE]) if isinstance(config, dict) and USER_CODE in config else None
