"""Tries the user's code in a worker before a run, and remembers in ROOT what was tried with success."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benison.pipelines.code import code_reference, fingerprint
from benison.pipelines.code.missing_imports import missing_imports
from benison.pipelines.config import Pipeline
from benison.pipelines.graph import recipe_of
from benison.pipelines.records import temporary
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
        ask: sends a request to a worker and returns its answer, and needs a log; None starts a worker for the trial.
        log: file for the output of the user's code; None: the warning has the end of the output.

    Raises:
        UsageError: the code has mistakes; one line for each.
    """
    refuse_missing_imports(config)
    project = _project(config)
    key = _key(config, project)
    kept = root / "tried" / key if key else None
    if kept is not None and kept.exists():
        return
    answer = _ask(ask, project, log) if ask and log else _ask_own_worker(root, project, log)
    if answer["mistakes"]:
        where = code_reference.display_path(config.source)
        raise UsageError("\n".join(f"{where}: {line}" for line in answer["mistakes"]))
    if answer["unfinished"]:
        print(f"the code could not be tried before the run: {answer['unfinished']}", file=sys.stderr)
    elif kept is not None and os.access(root, os.W_OK):
        kept.parent.mkdir(exist_ok=True)
        kept.touch()


def _ask(ask: Ask, project: dict[str, Any], log: Path) -> dict[str, Any]:
    answer = ask(operation="try_code", project=project, seconds=SECONDS, log=str(log))
    return {**answer, "unfinished": answer["unfinished"] and f"{answer['unfinished']} (log: {log})"}


def _ask_own_worker(root: Path, project: dict[str, Any], log: Path | None) -> dict[str, Any]:
    """Start a worker for this trial; without a log, the end of the output is part of the answer."""
    with temporary.for_command(root, "trial") as folder:
        worker = workers.Worker(folder)

        def ask(**request: Any) -> dict[str, Any]:
            worker.send(**request)
            return worker.receive()

        try:
            if log is not None:
                return _ask(ask, project, log)
            log = folder / "code.log"
            answer = ask(operation="try_code", project=project, seconds=SECONDS, log=str(log))
            end = [answer["unfinished"], *workers.last_lines(log)] if answer["unfinished"] else []
            return {**answer, "unfinished": "\n".join(end)}
        finally:
            worker.end()


def _project(config: Pipeline) -> dict[str, Any]:
    """Return the fields of `benison.components.train.dry_run.Project`."""
    return {
        "features": config.features,
        "columns": {name: column.model_dump(exclude_none=True) for name, column in config.columns.items()},
        "label": config.label,
        "problem": config.problem,
        "withheld": list(config.withheld),
        "recipes": [recipe_of(name, member, config) for name, member in config.ensemble.members.items()],
        "schema": str(config.schema_path) if config.schema_path.is_file() else None,
        "combiner": config.references.get("ensemble.combiner", ""),
        "metrics": {key: reference for key, reference in config.references.items() if key.startswith("metrics.")},
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
