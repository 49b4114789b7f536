"""The graph of a run: its nodes with the artifacts that they read and wrote, and the raw files behind them.

It is read from `run.json` and the compiled pipeline beside it. Of a run whose folder is gone, ML Metadata has the same.
Paths in a record are those of the machine and the folder of that time. If ROOT has moved since, a path in it, or one
beside it, is looked for relative to the ROOT of today.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.data import spans
from benison.pipelines.records import runs
from benison.pipelines.running import reruns, run_lineage
from benison.serving.errors import BenisonError

if TYPE_CHECKING:
    from benison.pipelines.records.runs import Run
    from benison.pipelines.running.run_lineage import RunLineage

RESOLVER = "Resolver"  # a node that writes nothing: its outputs are those of others


@dataclass(frozen=True)
class RawFile:
    """A file that rows came from.

    Attributes:
        path: where it is now, or would be.
        recorded: where it was when it was read.
        sha256: its hash when it was read; '' if a former release did not record it.
        span: the span that it belongs to; None for a pipeline without spans.
        pointer: the pointer of DVC that named it; '' if none did.
        md5: its hash as DVC has it; '' without a pointer.
        origin: where the file of a span came from; '' if that is not known.
    """

    path: Path
    recorded: str
    sha256: str = ""
    span: int | None = None
    pointer: str = ""
    md5: str = ""
    origin: str = ""


@dataclass(frozen=True)
class Artifact:
    """An output of a node.

    Attributes:
        uri: its folder when it was written, which identifies it.
        path: its folder now.
        type: its type in TFX.
        node: the node that wrote it, as it is called in this run.
        key: the key of the output.
        properties: its properties in ML Metadata.
        files: the files that rows were read from, if it is the output of an ExampleGen.
        files_hash: the hash of all of them as recorded: a span's own, or that of names and contents; '' if neither is.
    """

    uri: str
    path: Path
    type: str
    node: str
    key: str
    properties: Mapping[str, Any] = field(default_factory=dict, repr=False)
    files: tuple[RawFile, ...] = ()
    files_hash: str = ""


@dataclass(frozen=True)
class Step:
    """A node of a run, with its artifacts by key."""

    id: str
    kind: str
    state: str
    started: float | None = None
    seconds: float | None = None
    reason: str = ""
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunGraph:
    """A run with its steps in topological order.

    Attributes:
        run: the record of the run; with little in it if `from_metadata`.
        steps: its nodes.
        from_metadata: True if the run's folder is gone, and ML Metadata gave all of this.
    """

    run: Run
    steps: tuple[Step, ...]
    from_metadata: bool = False

    @property
    def artifacts(self) -> list[Artifact]:
        """The outputs of the nodes, written or taken from the cache, each once, as the last of its nodes has it."""
        found = [a for step in self.steps if step.kind != RESOLVER for each in step.outputs.values() for a in each]
        return list({a.uri: a for a in found}.values())

    @property
    def files(self) -> list[RawFile]:
        """The raw files of the run, each once."""
        return list({(file.recorded, file.sha256): file for a in self.artifacts for file in a.files}.values())

    def outputs(self, *types: str) -> list[Artifact]:
        """Return the artifacts of some types, in the order of the nodes."""
        return [artifact for artifact in self.artifacts if artifact.type in types]

    def inputs_of(self, artifact: Artifact) -> list[Artifact]:
        """Return the artifacts that the node of an artifact read."""
        step = next((step for step in self.steps if step.id == artifact.node), None)
        return [] if step is None else [a for each in step.inputs.values() for a in each]

    def upstream(self, artifact: Artifact) -> list[Artifact]:
        """Return what an artifact was made from, in the order of the nodes."""
        seen: set[str] = set()
        queue = [artifact]
        while queue:
            queue += [a for a in self.inputs_of(queue.pop()) if a.uri not in seen and not seen.add(a.uri)]  # type: ignore[func-returns-value]
        return [a for a in self.artifacts if a.uri in seen]

    @property
    def pushed(self) -> int | None:
        """The version that the run pushed, or found pushed already; None if there is none."""
        numbers = [a.properties.get("pushed_version") for a in self.outputs("PushedModel")]
        return next((int(number) for number in numbers if number), None)


def of_run(root: Path, run: Run) -> RunGraph:
    """Return the graph of a run in ROOT/runs.

    Args:
        root: ROOT.
        run: the run.
    """
    places = Places(root, former_root(run))
    edges = _edges(root, run)
    outputs = {
        (node.id, key): tuple(
            _artifact(places, run.pipeline, node.id, key, output["uri"], output["type"], output["properties"])
            for output in values
        )
        for node in run.nodes
        for key, values in node.outputs.items()
    }
    steps = []
    for node in run.nodes:
        own = {key: outputs[node.id, key] for key in node.outputs}
        inputs = {
            key: tuple({a.uri: a for source in sources for a in outputs.get(source, ())}.values())
            for key, sources in edges.get(node.id, {}).items()
        }
        if node.kind == RESOLVER:  # it names other runs' outputs too
            inputs = own
        steps.append(Step(node.id, node.kind, node.state, node.started, node.seconds, node.reason, inputs, own))
    return RunGraph(run, tuple(steps))


def of_metadata(root: Path, run_id: str, pipeline: str, window: Sequence[int]) -> RunGraph | None:
    """Return the graph of a run whose folder is gone; None if ML Metadata does not know it either.

    Args:
        root: ROOT.
        run_id: the run's id.
        pipeline: the pipeline's name.
        window: the spans of the run.
    """
    run = runs.Run(run_id, pipeline, root / "runs" / run_id, 0.0, outcome="unknown", window=list(window))
    try:
        store = run_lineage.open_store(root)
        if store.get_context_by_type_and_name(reruns.RUN, run_id) is None:
            return None
        entries = run_lineage.read(store, run, origins={})
    except (OSError, BenisonError):
        return None
    return _of_entries(root, run, entries)


def _of_entries(root: Path, run: Run, lineage: RunLineage) -> RunGraph:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    former = next(iter(_roots(a.uri for a in lineage.artifacts.values())), root)
    places, names = Places(root, former), mlmd.Execution.State.Name
    written: dict[int, Artifact] = {}
    steps = []
    for entry in lineage.entries:
        inputs: dict[str, tuple[Artifact, ...]] = {}
        outputs: dict[str, tuple[Artifact, ...]] = {}
        for event in entry.events:
            key, artifact = event.path.steps[0].key, lineage.artifacts[event.artifact_id]
            is_output = event.type == mlmd.Event.OUTPUT
            if is_output or artifact.id not in written:
                properties = {name: _value(value) for name, value in artifact.custom_properties.items()}
                properties |= {name: _value(value) for name, value in artifact.properties.items()}
                node = entry.node if is_output else ""
                written[artifact.id] = _artifact(
                    places, run.pipeline, node, key, artifact.uri, artifact.type, properties
                )
            side = outputs if is_output else inputs
            side[key] = (*side.get(key, ()), written[artifact.id])
        state = names(entry.execution.last_known_state).lower()
        started, ended = (
            entry.execution.create_time_since_epoch / 1000,
            entry.execution.last_update_time_since_epoch / 1000,
        )
        steps.append(Step(entry.node, entry.kind, state, started, ended - started, "", inputs, outputs))
        run.started = min(run.started or started, started)
    return RunGraph(run, tuple(steps), from_metadata=True)


@dataclass(frozen=True)
class Places:
    """Finds recorded paths in the ROOT of today.

    Attributes:
        root: ROOT.
        former: ROOT when the record was written.
    """

    root: Path
    former: Path

    def now(self, recorded: str) -> Path:
        """Return where a recorded path is now: at the same place relative to ROOT, else where it was."""
        if self.root == self.former:
            return Path(recorded)
        moved = Path(os.path.normpath(self.root / os.path.relpath(recorded, self.former)))
        is_inside = Path(recorded).is_relative_to(self.former)
        return moved if is_inside or moved.exists() else Path(recorded)


def _artifact(
    places: Places, pipeline: str, node: str, key: str, uri: str, type_name: str, properties: Mapping[str, Any]
) -> Artifact:
    files, files_hash = _files(places, pipeline, properties) if type_name in ("Examples", "Model") else ((), "")
    return Artifact(uri, places.now(uri), type_name, node, key, properties, files, files_hash)


def _files(places: Places, pipeline: str, properties: Mapping[str, Any]) -> tuple[tuple[RawFile, ...], str]:
    """Return the files of the Examples of an ExampleGen, or of an imported model, and the hash of all of them."""
    try:
        if "input_fingerprint" not in properties:  # SpanWindow names the files of the ExampleGen before it
            return (), ""
        recorded = json.loads(properties["files"])
        contents = json.loads(properties.get("contents", "[]")) or [{}] * len(recorded)
    except (KeyError, ValueError):  # not of Benison's ExampleGen
        return (), ""
    span_hash = str(properties.get("span_hash", ""))
    span = int(properties["span"]) if span_hash else None
    folder = None if span is None else _span_folder(places.root, pipeline, span, span_hash)
    known = {} if folder is None else _span_files(folder)
    files = []
    for path, content in zip(recorded, contents, strict=True):
        content = content or known.get(os.path.basename(path), {})
        here = places.now(path) if folder is None else folder / os.path.basename(path)
        pointer, md5, origin = (str(content.get(key, "")) for key in ("pointer", "md5", "from"))
        files.append(RawFile(here, path, str(content.get("sha256", "")), span, pointer, md5, origin))
    return tuple(files), span_hash or str(properties.get("input_fingerprint", ""))


def _span_folder(root: Path, pipeline: str, number: int, sha256: str) -> Path | None:
    """Return the folder of a span as it was read, which may have been removed or replaced since; None if it is gone."""
    base = spans.folder(root, pipeline)
    places = {record.span.sha256: record.path for record in spans.removed_spans(root, pipeline)}
    places |= {span.sha256: base / str(span.number) for span in spans.all_spans(root, pipeline)}
    return places.get(sha256, base / str(number))


def _span_files(folder: Path) -> Mapping[str, Mapping[str, str]]:
    try:
        return dict(json.loads((folder / spans.FILE).read_text()).get("files", {}))
    except (OSError, ValueError):
        return {}


def _edges(root: Path, run: Run) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """Return the outputs, as node and key, that each input of each node takes, from the compiled pipelines."""
    edges: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for mark, ir in _compiled(root, run):
        for entry in ir.get("nodes", []):
            node = entry.get("pipelineNode", {})
            inputs = node.get("inputs", {}).get("inputs", {})
            edges[f"{node.get('nodeInfo', {}).get('id')}{mark}"] = {
                key: [
                    (f"{channel['producerNodeQuery']['id']}{mark}", channel.get("outputKey", ""))
                    for channel in value.get("channels", [])
                    if "producerNodeQuery" in channel
                ]
                for key, value in inputs.items()
            }
    return edges


def _compiled(root: Path, run: Run) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the compiled pipelines of a run, each with the mark of its nodes; a repeated run has those of the other."""
    folder = run.folder
    if run.repeats and not (folder / "pipeline.json").is_file():
        folder = root / "runs" / run.repeats
    marks = {"": "pipeline.json", **{f"[{number}]": f"span-{number}.json" for number in run.window[:-1]}}
    for mark, name in marks.items():
        try:
            yield mark, json.loads((folder / name).read_text())
        except (OSError, ValueError):
            continue


def former_root(run: Run) -> Path:
    """Return ROOT when the run ended, as its `run.json` has it."""
    try:
        return Path(json.loads((run.folder / runs.FILE).read_text())["folder"]).parents[1]
    except (OSError, ValueError, LookupError, TypeError):
        return run.folder.parents[1]


def _roots(uris: Iterable[str]) -> Iterator[Path]:
    """Yield the ROOT that is in the paths of artifacts, ROOT/artifacts/PIPELINE/NODE/KEY/NUMBER."""
    for uri in uris:
        parents = Path(uri).parents
        if len(parents) > 4 and parents[3].name == "artifacts":
            yield parents[4]


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
