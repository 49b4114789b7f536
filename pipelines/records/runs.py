"""Runs on disk: `ROOT/runs/RUN/` with `run.json`, the compiled pipeline and one log per node."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.records import locks, temporary
from benison.serving.errors import UsageError
from benison.serving.files import system_errors

FILE = "run.json"
FAILED_STATES = frozenset({"failed", "invalid"})
ENDED = frozenset({"complete", "cached", "not_blessed", "not_pushed"})


@dataclass
class NodeRun:
    """A node in a run.

    Attributes:
        id: the node's id.
        kind: the component's class name.
        log: the file with its output.
        state: waiting, running, one of `benison.pipelines.running.node_result.State`, or not_run because another node
            failed.
        started: Unix seconds; None before.
        seconds: wall time; None until it has ended.
        reason: why it failed, was skipped or refused.
        outputs: by key, each artifact's `uri`, `type` and `properties`.
        turn: the order in which a scheduler started the nodes, from 1; higher if it ran again later. 0 if none did.
        profile: where its time went: `phases` (seconds), `processor_s` and `memory_mb`; empty if it was not measured.
        origin: the earlier run that wrote its outputs; '' if this run did.
    """

    id: str
    kind: str
    log: str
    state: str = "waiting"
    started: float | None = None
    seconds: float | None = None
    reason: str = ""
    outputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    turn: int = 0
    profile: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass
class Run:
    """A run of a pipeline; `run.json` holds it.

    Attributes:
        id: the run's id, which is also its folder's name.
        pipeline: the pipeline's name.
        folder: ROOT/runs/ID.
        started: Unix seconds.
        seconds: wall time; None until it has ended.
        outcome: running, pushed, already_served, not_blessed, not_pushed, failed, invalid, interrupted, or complete
            where a pipeline pushes nothing.
        nodes: in topological order.
        window: the spans that it uses; empty for a pipeline without spans.
        repeats: the earlier run whose results it has, because nothing had changed since; '' if it ran nodes.
        changed: what it depended on that was not as in the pipeline's run before it; None if that is not known.
        sets: the values that replaced those of the YAML, by key: of `--set`, or of Airflow's form.
        metric: what the Blessing measured of the ensemble on `test`: `name` and `value`; None if the run ended before.
        phases: seconds that the runner itself took, by phase.
        part: of a partial run, the options that name its part, such as `{"to": "Evaluator"}`; empty for a whole run.
            A run that continues another one (`resume`) also has the options of that run.
    """

    id: str
    pipeline: str
    folder: Path
    started: float
    seconds: float | None = None
    outcome: str = "running"
    nodes: list[NodeRun] = field(default_factory=list)
    window: list[int] = field(default_factory=list)
    repeats: str = ""
    changed: list[str] | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    metric: Mapping[str, Any] | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    part: Mapping[str, str] = field(default_factory=dict)

    @property
    def temporary(self) -> Path:
        """The run's temporary folder; `begin` makes and removes it."""
        return self.folder.parents[1] / temporary.FOLDER / self.id

    @property
    def options(self) -> str:
        """The options of a partial run, such as `--to Evaluator`; '' for a whole run."""
        return " ".join(f"--{name} {value}" for name, value in self.part.items())

    @property
    def failed_nodes(self) -> list[NodeRun]:
        """The nodes that failed, or whose data is invalid."""
        return [node for node in self.nodes if node.state in FAILED_STATES]

    def outputs(self, type_name: str) -> list[dict[str, Any]]:
        """Return the outputs of an artifact type, in the order of the nodes: each with `uri`, `type`, `properties`."""
        return [o for n in self.nodes for values in n.outputs.values() for o in values if o["type"] == type_name]

    def plan(self, compiled: Compiled) -> None:
        """Set the nodes and the window from a compiled pipeline."""
        self.window = list(compiled.window)
        self.nodes = [NodeRun(n.id, n.kind, str(self.folder / f"{n.id}.log")) for n in compiled.nodes]

    def end(self, outcome: str | None = None) -> None:
        """End the run and save it, with an outcome that defaults to that of its nodes."""
        self.seconds = time.time() - self.started
        for node in self.nodes:
            if node.state in ("waiting", "running"):
                node.state = "not_run"
        self.outcome = outcome or self.outcome_of_nodes()
        self.metric = self.measured()  # pruning may remove the artifact
        self.save()

    def measured(self) -> Mapping[str, Any] | None:
        """Return the attribute `metric`; of a run of a former release, what its artifact says if it still exists."""
        if self.metric is not None:
            return self.metric
        for output in self.outputs("ModelBlessing"):
            try:
                blessing = json.loads((Path(output["uri"]) / "blessing.json").read_text())
                name = blessing["metric"]
                return {"name": name, "value": blessing["metrics"]["ensemble"][name]}
            except (OSError, ValueError, KeyError, TypeError):  # TFX's Evaluator leaves its blessing empty
                continue
        return None

    def interrupt(self) -> None:
        """Give the run, whose process was killed, its outcome and its time up to the last file that it wrote."""
        last = max((file.stat().st_mtime for file in self.folder.iterdir()), default=self.started)
        self.outcome, self.seconds = "interrupted", last - self.started
        for node in self.nodes:
            if node.state in ("waiting", "running"):
                node.state = "not_run"

    def save(self) -> None:
        """Write `run.json` in one step, so that readers never see a part of it."""
        data = {**asdict(self), "folder": str(self.folder)}
        aside = self.folder / f".{FILE}"
        with system_errors.about(aside):
            aside.write_text(json.dumps(data, indent=2) + "\n")
        os.replace(aside, self.folder / FILE)

    def outcome_of_nodes(self) -> str:
        """Return the outcome that follows from the nodes' states."""
        states = {node.state for node in self.nodes}
        pushed = self.outputs("PushedModel")
        if not self.nodes or "failed" in states:
            return "failed"
        if "invalid" in states:
            return "invalid"
        for refused in ("not_blessed", "not_pushed"):
            if refused in states:
                return refused
        if not pushed:
            return "complete"
        return "already_served" if pushed[-1]["properties"].get("already_served") else "pushed"


@contextmanager
def begin(root: Path, pipeline: str) -> Iterator[Run]:
    """Begin a run, hold the pipeline's lock, and write the outcome into `run.json` at the end, even after an error.

    Raises:
        UsageError: a run of this pipeline is under way.
        OSError: ROOT cannot be written to; the error names it.
    """
    with system_errors.about(root), _begun(root, pipeline) as run:
        yield run


@contextmanager
def _begun(root: Path, pipeline: str) -> Iterator[Run]:
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    run_id = f"{pipeline}-{stamp}-{int(now * 1_000_000) % 1_000_000:06d}"
    with locks.pipeline_lock(root, pipeline, run_id), temporary.folder(root, run_id):
        run = Run(run_id, pipeline, root / "runs" / run_id, now)
        _end_killed(root, pipeline)
        run.folder.mkdir(parents=True)
        run.save()
        try:
            yield run
        except KeyboardInterrupt:
            run.end("interrupted")
            raise
        except BaseException as error:
            if isinstance(error, UsageError) and run.part and not run.nodes:  # a part that does not exist is no run
                shutil.rmtree(run.folder)
                raise
            run.end("failed")
            raise
        run.end()


def sub_run_id(run_id: str, name: str) -> str:
    """Return the id in ML Metadata of the part of a run that ingests an earlier span."""
    return f"{run_id}+{name}"


def whole_run_id(run_id: str) -> str:
    """Return the id of the run that a run in ML Metadata is, or is a part of."""
    return run_id.partition("+span-")[0]


def belongs_to_root(run_id: str, root: Path) -> bool:
    """Return True if a run in ML Metadata is a run in ROOT, or a part of one."""
    names = filter(None, (run_id, run_id.rpartition("+")[0]))
    return any((root / "runs" / name / FILE).is_file() for name in names)


def read(file: Path) -> Run:
    """Read a `run.json`.

    Raises:
        OSError, ValueError, TypeError, KeyError: the file does not exist, or is not a valid `run.json`.
    """
    data = json.loads(file.read_text())
    nodes = [NodeRun(**node) for node in data.pop("nodes")]
    return Run(**{**data, "folder": file.parent, "nodes": nodes})


def history(root: Path, newest: int | None = None) -> list[Run]:
    """Return the runs in ROOT, oldest first; skip folders without a valid `run.json`.

    A run that was killed could not write its outcome. It is `interrupted` here.

    Args:
        root: ROOT.
        newest: how many of the runs that were written last; None for all.
    """
    records = []
    for run, was_killed in _recorded(root, newest):
        with suppress(OSError):  # its folder is being removed
            if was_killed:
                run.interrupt()
            records.append(run)
    return sorted(records, key=lambda run: run.started)


def earlier(root: Path, run: Run) -> list[Run]:
    """Return the earlier runs of the same pipeline, the last one first; without those of which no node has ended."""
    others = (other for other in history(root) if other.pipeline == run.pipeline and other.started < run.started)
    ended = (other for other in others if other.repeats or any(node.state in ENDED for node in other.nodes))
    return sorted(ended, key=lambda other: other.started, reverse=True)


def _recorded(root: Path, newest: int | None = None) -> Iterator[tuple[Run, bool]]:
    """Yield each run in ROOT as its `run.json` has it, and whether it was killed before it could write its outcome."""
    files = list(root.glob(f"runs/*/{FILE}"))
    if newest is not None and len(files) > newest:
        files = sorted(files, key=_written)[-newest:]
    for file in files:
        with suppress(OSError, ValueError, TypeError, KeyError):
            run = read(file)
            yield run, run.outcome == "running" and not locks.is_under_way(root, run.pipeline, run.id)


def _written(file: Path) -> float:
    with suppress(OSError):  # it is being removed
        return file.stat().st_mtime
    return 0.0


def _end_killed(root: Path, pipeline: str) -> None:
    """Write the outcome of a pipeline's killed runs."""
    for run, was_killed in _recorded(root):
        if was_killed and run.pipeline == pipeline:
            run.interrupt()
            run.save()


def usual_seconds(root: Path, pipeline: str) -> dict[str, float]:
    """Return the seconds that each node took when it last ran without the cache, to estimate the time left."""
    seconds: dict[str, float] = {}
    for run in history(root):
        if run.pipeline == pipeline:
            seconds |= {
                n.id: n.seconds for n in run.nodes if n.state in ("complete", "not_blessed", "not_pushed") and n.seconds
            }
    return seconds
