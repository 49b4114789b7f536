"""The record of a run whose nodes a scheduler such as Airflow starts, each in its own process: Begin, nodes, Finish.

The run's folder has the same layout as that of the local runner. The processes update `run.json` in turn; Begin also
writes the settings that all of them use (`scheduled.json`).
"""

from __future__ import annotations

import json
import operator
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.records import attempts, runs
from benison.pipelines.records.locks import SCHEDULED
from benison.pipelines.records.runs import NodeRun, Run
from benison.serving.errors import UsageError
from benison.serving.files import file_lock

IR = "pipeline.json"
BEGIN = "Begin"  # the node id of Begin's attempts; no component has this name


@dataclass(frozen=True)
class RunSettings:
    """Settings that every process of a run uses.

    Attributes:
        cache: use results of earlier runs with the same inputs.
        params: values of the pipeline's runtime parameters.
        import_path: folders besides the installed packages that hold the pipeline's modules.
        host: name of the machine that began the run, and the id of its kernel's start.
        manifest: path of the pipeline's manifest, for Finish.
    """

    cache: bool
    params: Mapping[str, Any] = field(default_factory=dict)
    import_path: tuple[str, ...] = ()
    host: tuple[str, str] = ("", "")
    manifest: str = ""


def this_host() -> tuple[str, str]:
    """Return this machine's name, and the id of its kernel's start, which the containers of a machine share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return socket.gethostname(), boot.read_text().strip() if boot.is_file() else ""


def check_host(run_id: str, settings: RunSettings, sqlite: str | None) -> None:
    """Refuse SQLite for ML Metadata if this process is on another machine than Begin.

    SQLite locks its file through the kernel. Two kernels that write to a file on a shared disk damage it. The same name
    is the same machine, which may have restarted; the same start of a kernel is another container of the machine.

    Args:
        run_id: the run.
        settings: what Begin wrote.
        sqlite: path of ML Metadata's SQLite file; None for another database.

    Raises:
        UsageError: it is another machine.
    """
    here = this_host()
    if sqlite and settings.host[0] and not any(map(operator.eq, here, settings.host)):
        raise UsageError(
            f"run {run_id}: Begin ran on {settings.host[0]} and this task runs on {here[0]}, but ML Metadata is the "
            f"SQLite file {sqlite}, which two machines that share a disk damage; set BENISON_METADATA on all workers "
            "to postgresql://USER:PASSWORD@HOST:PORT/DATABASE or mysql://…"
        )


def run_folder(root: Path, run_id: str) -> Path:
    """Return ROOT/runs/RUN.

    Raises:
        UsageError: the id cannot be a folder's name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]*", run_id):
        raise UsageError(f"run {run_id!r}: expected an id of letters, digits, '_', '.', ':', '+' and '-'")
    return root / "runs" / run_id


def begin(
    root: Path, run_id: str, pipeline: str, settings: RunSettings, sets: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Create a run's folder; if it exists already, as after a retry of Begin, start the run again in it.

    Args:
        root: ROOT.
        run_id: the run.
        pipeline: its name.
        settings: for all processes of the run.
        sets: the form's values that are not the config's, for the record of the run.

    Raises:
        UsageError: the folder belongs to a run of another pipeline.
    """
    folder = run_folder(root, run_id)
    if (folder / runs.FILE).is_file() and (other := runs.read(folder / runs.FILE).pipeline) != pipeline:
        raise UsageError(f"run {run_id} in {root} is a run of {other}; use different run ids for each pipeline")
    folder.mkdir(parents=True, exist_ok=True)
    with _record_lock(folder):
        written = asdict(replace(settings, host=this_host()))
        (folder / SCHEDULED).write_text(json.dumps(written, indent=2) + "\n")
        Run(run_id, pipeline, folder, time.time(), sets=dict(sets)).save()


def read_settings(root: Path, run_id: str) -> RunSettings:
    """Return the settings that Begin wrote.

    Raises:
        UsageError: there is no such run, or no scheduler began it.
    """
    try:
        data = json.loads((run_folder(root, run_id) / SCHEDULED).read_text())
    except FileNotFoundError:
        raise _not_begun(root, run_id) from None
    host = tuple(data.get("host", ("", "")))  # an earlier release wrote none
    return RunSettings(**{**data, "import_path": tuple(data["import_path"]), "host": host})


def plan(root: Path, run_id: str, compiled: Compiled) -> None:
    """Record the nodes and the window of a compiled pipeline."""
    with update_run(root, run_id) as run:
        run.plan(compiled)


@contextmanager
def update_run(root: Path, run_id: str) -> Iterator[Run]:
    """Yield the run for a change by one process at a time; write `run.json` when the block ends.

    Raises:
        UsageError: there is no such run.
    """
    folder = run_folder(root, run_id)
    if not (folder / runs.FILE).is_file():
        raise _not_begun(root, run_id)
    with _record_lock(folder):
        run = runs.read(folder / runs.FILE)
        yield run
        run.save()


def record_start(root: Path, run_id: str, node_id: str) -> None:
    """Record that a node has started; a run that was finished is running again."""
    with update_run(root, run_id) as run:
        run.outcome, run.seconds = "running", None
        node = _node(run, node_id)
        node.state, node.started, node.seconds, node.reason, node.outputs = "running", time.time(), None, "", {}
        # Not the time, because the clocks of two workers differ.
        node.turn = 1 + max(other.turn for other in run.nodes)


def record_end(root: Path, run_id: str, node_id: str, state: str, reason: str, outputs: Mapping[str, list]) -> None:
    """Record the result of a node."""
    with update_run(root, run_id) as run:
        node = _node(run, node_id)
        node.state, node.reason, node.outputs = state, reason, outputs
        node.seconds = time.time() - (node.started or time.time())


# What it means if a node never started, by the state of its task in Airflow: its state here, and the reason.
_NEVER_STARTED: Mapping[str, tuple[str, str]] = {
    "failed": ("failed", "its process did not start; see the task's log in Airflow"),
    "success": ("not_run", "its task was marked as successful by hand"),
    "skipped": ("not_run", "its task was skipped by hand, or the run was marked as failed"),
    "upstream_failed": ("not_run", ""),
}


def finish(root: Path, run_id: str, tasks: Mapping[str, str] | None = None) -> Run:
    """Record the run's outcome, after the last node.

    Args:
        root: ROOT.
        run_id: a run that Begin started.
        tasks: the state of each node's task in Airflow, for nodes that never started.

    Raises:
        UsageError: there is no such run.
    """
    with update_run(root, run_id) as run:
        for node in run.nodes:
            if node.state == "running" and not attempts.is_under_way(run.folder, node.id):
                node.state, node.reason = "failed", "its process was killed"
        not_run = False
        for node in run.nodes:
            if node.state in ("waiting", "not_run") and (state := (tasks or {}).get(node.id, "")) in _NEVER_STARTED:
                node.state, node.reason = _NEVER_STARTED[state]
                not_run |= node.state == "not_run"
        for node in run.nodes:
            if node.state == "waiting" and not run.failed_nodes:
                node.state, node.reason = "skipped", "a node that it depends on was skipped or refused the model"
        run.end("interrupted" if not_run and not run.failed_nodes else None)
    return run


def _node(run: Run, node_id: str) -> NodeRun:
    return next(node for node in run.nodes if node.id == node_id)


def _not_begun(root: Path, run_id: str) -> UsageError:
    return UsageError(
        f"run {run_id}: no scheduled run of this id in {root}; begin it with `python -m benison.pipelines.begin`"
    )


@contextmanager
def _record_lock(folder: Path) -> Iterator[None]:
    with file_lock.hold(folder / ".run.lock"):
        yield


def use_import_path(settings: RunSettings) -> None:
    """Make the pipeline's own modules importable in this process and in the processes that it starts."""
    import sys

    sys.path[1:1] = [entry for entry in settings.import_path if entry not in sys.path]
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys([*inherited, *settings.import_path])))
