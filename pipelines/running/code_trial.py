"""Tries the user's code in a worker before a run, and remembers in ROOT what was tried with success."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benison.pipelines.code import code_reference, fingerprint
from benison.pipelines.config import Pipeline
from benison.pipelines.graph import recipe_of
from benison.serving.errors import BenisonError, UsageError

SECONDS = 30
_PACKAGES = ("benison", "tensorflow", "tensorflow-transform", "keras", "keras-tuner")


def try_code(config: Pipeline, root: Path, ask: Callable[..., dict[str, Any]], log: Path) -> str:
    """Import the user's code and build all members, unless the same code was tried before.

    Args:
        config: the pipeline's config.
        root: ROOT; if the folder exists, the result is kept in it.
        ask: sends a request to a worker and returns its answer.
        log: file for the output of the user's code.

    Returns:
        Why the code could not be tried to the end; '' if it was.

    Raises:
        UsageError: the code has mistakes; one line for each.
    """
    project = _project(config)
    key = _key(config, project)
    kept = root / "tried" / key if key else None
    if kept is not None and kept.exists():
        return ""
    answer = ask(operation="try_code", project=project, seconds=SECONDS, log=str(log))
    if answer["mistakes"]:
        where = code_reference.display_path(config.source)
        raise UsageError("\n".join(f"{where}: {line}" for line in answer["mistakes"]))
    if answer["unfinished"]:
        return f"the code could not be tried before the run: {answer['unfinished']} (log: {log})"
    if kept is not None and root.is_dir():
        kept.parent.mkdir(exist_ok=True)
        kept.touch()
    return ""


def _project(config: Pipeline) -> dict[str, Any]:
    """Return the fields of `benison.components.train.dry_run.Project`."""
    others = {"data.source": config.data.source} if config.data.source else {}
    if ":" in config.ensemble.combiner:
        others["ensemble.combiner"] = config.ensemble.combiner
    return {
        "features": config.features,
        "columns": {name: column.model_dump(exclude_none=True) for name, column in config.columns.items()},
        "label": config.label,
        "problem": config.problem,
        "recipes": [recipe_of(name, member, config) for name, member in config.ensemble.members.items()],
        "schema": str(config.schema_path) if config.schema_path.is_file() else None,
        "others": others,
    }


def _key(config: Pipeline, project: dict[str, Any]) -> str:
    """Hash everything that the trial depends on; '' if the code cannot be followed."""
    references = [config.features, *(m.function for m in config.ensemble.members.values()), *project["others"].values()]
    try:
        code = config.user_code(*map(code_reference.Code.of, references)).hash()
        schema = fingerprint.files([config.schema_path]) if project["schema"] else ""
    except BenisonError:
        return ""
    versions = [version(name) for name in _PACKAGES]
    return hashlib.sha256(json.dumps([project, code, schema, versions], sort_keys=True).encode()).hexdigest()
