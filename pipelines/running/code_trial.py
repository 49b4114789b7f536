"""Tries the user's code in a worker before a run, and remembers in ROOT what was tried with success."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benison.pipelines.code import code_reference, fingerprint
from benison.pipelines.code.missing_imports import missing_imports
from benison.pipelines.config import Pipeline
from benison.pipelines.graph import recipe_of
from benison.pipelines.running import workers
from benison.serving.errors import BenisonError, UsageError

Ask = Callable[..., dict[str, Any]]
SECONDS = 30
_IMPORTED_ONLY = ("data.source",)  # only a run shows whether it works
_PACKAGES = ("benison", "tensorflow", "tensorflow-transform", "keras", "keras-tuner")


def refuse_missing_imports(config: Pipeline) -> None:
    """Raise an error if the user's code imports modules that do not exist; it is read, not imported.

    Raises:
        UsageError: there are such imports; one line for each.
    """
    where = code_reference.display_path(config.source)
    lines: dict[str, str] = {}
    for key, reference in config.references.items():
        for line in missing_imports(code_reference.find(code_reference.split(reference)[0])):
            lines.setdefault(line, f"{where}: {key}: {line}")
    if lines:
        raise UsageError("\n".join(lines.values()))


def try_code(config: Pipeline, root: Path, ask: Ask | None = None, log: Path | None = None) -> None:
    """Import the user's code and build all members, unless the same code was tried before.

    If the code cannot be tried to the end, a warning on stderr says why.

    Args:
        config: the pipeline's config.
        root: ROOT; if the folder exists, the result is kept in it.
        ask: sends a request to a worker and returns its answer; None starts a worker for the trial.
        log: file for the output of the user's code; None: a temporary file, which stays if there is a warning.

    Raises:
        UsageError: the code has mistakes; one line for each.
    """
    refuse_missing_imports(config)
    project = _project(config)
    key = _key(config, project)
    kept = root / "tried" / key if key else None
    if kept is not None and kept.exists():
        return
    answer = _answer(ask or _ask_own_worker, project, log)
    if answer["mistakes"]:
        where = code_reference.display_path(config.source)
        raise UsageError("\n".join(f"{where}: {line}" for line in answer["mistakes"]))
    if answer["unfinished"]:
        reason = f"{answer['unfinished']} (log: {answer['log']})"
        print(f"the code could not be tried before the run: {reason}", file=sys.stderr)
    elif kept is not None and root.is_dir():
        kept.parent.mkdir(exist_ok=True)
        kept.touch()


def _answer(ask: Ask, project: dict[str, Any], log: Path | None) -> dict[str, Any]:
    """Return the worker's answer, with the log that it wrote."""
    if log is not None:
        return {**ask(operation="try_code", project=project, seconds=SECONDS, log=str(log)), "log": log}
    with tempfile.NamedTemporaryFile(prefix="benison-", suffix=".log", delete=False) as file:
        temporary = Path(file.name)
    unfinished = ""
    try:
        answer = _answer(ask, project, temporary)
        unfinished = answer["unfinished"]
        return answer
    finally:
        if not unfinished:
            temporary.unlink()


def _ask_own_worker(**request: Any) -> dict[str, Any]:
    worker = workers.Worker()
    try:
        worker.send(**request)
        return worker.receive()
    finally:
        worker.end()


def _project(config: Pipeline) -> dict[str, Any]:
    """Return the fields of `benison.components.train.dry_run.Project`."""
    return {
        "features": config.features,
        "columns": {name: column.model_dump(exclude_none=True) for name, column in config.columns.items()},
        "label": config.label,
        "problem": config.problem,
        "recipes": [recipe_of(name, member, config) for name, member in config.ensemble.members.items()],
        "schema": str(config.schema_path) if config.schema_path.is_file() else None,
        "combiner": config.references.get("ensemble.combiner", ""),
        "others": {key: reference for key, reference in config.references.items() if key in _IMPORTED_ONLY},
    }


def _key(config: Pipeline, project: dict[str, Any]) -> str:
    """Hash everything that the trial depends on; '' if the code cannot be followed."""
    try:
        code = config.user_code(*config.references).hash()
        schema = fingerprint.files([config.schema_path]) if project["schema"] else ""
    except BenisonError:
        return ""
    versions = [version(name) for name in _PACKAGES]
    everything = json.dumps([project, code, schema, versions], sort_keys=True)
    here = json.dumps(os.path.join(config.source.parent, ""))[1:-1]  # a copy of the project is the same project
    return hashlib.sha256(everything.replace(here, "").encode()).hexdigest()
