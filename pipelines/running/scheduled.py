"""Runs whose nodes a scheduler such as Airflow starts, each in a process of its own: Begin, the nodes, Finish.

They are the same folders as the local runner's. Beside `run.json`, which the processes write in turn, lies what Begin
resolved for all of them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.records import attempts, runs
from benison.pipelines.records.locks import SCHEDULED
from benison.pipelines.records.runs import NodeRun, Run
from benison.serving.errors import UsageError

IR = "pipeline.json"
BEGIN = "Begin"  # the id of its attempts; no component has it


@dataclass(frozen=True)
class RunSettings:
    """What every process of a run goes by.

    Attributes:
        cache: whether results of earlier runs may stand in.
        params: values of the pipeline's runtime parameters.
        import_path: folders beyond the installed packages that hold its modules.
    """

    cache: bool
    params: Mapping[str, Any] = field(default_factory=dict)
    import_path: tuple[str, ...] = ()


def folder(root: Path, run_id: str) -> Path:
    """ROOT/runs/RUN.

    Raises:
        UsageError: the id is none for a folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*", run_id):
        raise UsageError(f"run {run_id!r}: expected an id of letters, digits, '_', '.', ':', '+' and '-'")
    return root / "runs" / run_id


def begin(root: Path, run_id: str, pipeline: str, settings: RunSettings) -> None:
    """Makes a run's folder; where it is there, as after a retry of Begin, the run begins anew in it.

    Raises:
        UsageError: the folder is another pipeline's.
    """
    place = folder(root, run_id)
    if (place / runs.FILE).is_file() and (other := runs.read(place / runs.FILE).pipeline) != pipeline:
        raise UsageError(f"run {run_id} in {root} is one of {other}; give each pipeline's runs ids of their own")
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        (place / SCHEDULED).write_text(json.dumps(asdict(settings), indent=2) + "\n")
        Run(run_id, pipeline, place, time.time()).save()


def settings(root: Path, run_id: str) -> RunSettings:
    """What Begin resolved.

    Raises:
        UsageError: there is no such run, or it is not a scheduler's.
    """
    try:
        data = json.loads((folder(root, run_id) / SCHEDULED).read_text())
    except FileNotFoundError:
        raise UsageError(f"run {run_id}: not begun in {root}; `python -m benison.pipelines.begin` does that") from None
    return RunSettings(**{**data, "import_path": tuple(data["import_path"])})


def plan(root: Path, run_id: str, compiled: Compiled) -> None:
    """Takes up the nodes and the window."""
    with changing(root, run_id) as run:
        run.plan(compiled)


@contextmanager
def changing(root: Path, run_id: str) -> Iterator[Run]:
    """The run, to be changed by one process at a time; `run.json` is written when the block ends.

    Raises:
        UsageError: there is no such run.
    """
    place = folder(root, run_id)
    if not (place / runs.FILE).is_file():
        raise UsageError(f"run {run_id}: not begun in {root}; `python -m benison.pipelines.begin` does that")
    with _alone(place):
        run = runs.read(place / runs.FILE)
        yield run
        run.save()


def started(root: Path, run_id: str, node_id: str) -> None:
    """Notes down that a node runs; a run that was finished goes on with that."""
    with changing(root, run_id) as run:
        run.outcome, run.seconds = "running", None
        node = _node(run, node_id)
        node.state, node.started, node.seconds, node.reason, node.outputs = "running", time.time(), None, "", {}


def ended(root: Path, run_id: str, node_id: str, state: str, reason: str, outputs: Mapping[str, list]) -> None:
    """Notes down what became of a node."""
    with changing(root, run_id) as run:
        node = _node(run, node_id)
        node.state, node.reason, node.outputs = state, reason, outputs
        node.seconds = time.time() - (node.started or time.time())


def finish(root: Path, run_id: str) -> Run:
    """Settles the outcome, after the last node.

    Raises:
        UsageError: there is no such run.
    """
    with changing(root, run_id) as run:
        for node in run.nodes:
            if node.state == "running" and not attempts.is_under_way(run.folder, node.id):
                node.state, node.reason = "failed", "its process was killed"
        for node in run.nodes:
            if node.state == "waiting" and not run.broken:
                node.state, node.reason = "skipped", "what it depends on was refused or skipped"
        run.end()
    return run


def _node(run: Run, node_id: str) -> NodeRun:
    return next(node for node in run.nodes if node.id == node_id)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    with (place / ".run.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def use_import_path(settings: RunSettings) -> None:
    """Lets this process, and what it starts, import the pipeline's own modules."""
    import sys

    sys.path[1:1] = [entry for entry in settings.import_path if entry not in sys.path]
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys([*given, *settings.import_path])))
