"""The entries of a run in ML Metadata, read and repeated without TFX.

A run that repeats an earlier one has the entries that TFX's launcher writes for a cached run: one execution per node,
with the state CACHED and the inputs and outputs of the earlier one, in the contexts of the pipeline, the node and the
cache key, and in a new context of the run. The Pusher, which no run takes from the cache, has an execution and an
artifact of its own.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.code import reads
from benison.pipelines.records import metadata_store, runs
from benison.pipelines.running import node_cache, reruns
from benison.serving.errors import NodeFailed

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

PUSHER = "Pusher"
_CACHE = "execution_cache"  # TFX's type of context for a key of the cache
_ATTEMPT = "attempt"  # property of the Pusher that keeps it out of the cache
PushedAgain = Callable[["mlmd.Artifact"], "mlmd.Artifact"]


@dataclass(frozen=True)
class Entry:
    """An execution of a run.

    Attributes:
        node: the node's id in the run.
        execution: the execution.
        origin: the execution that wrote its outputs; None for a node that the cache does not keep.
        events: its inputs and outputs.
        contexts: its contexts.
    """

    node: str
    execution: mlmd.Execution
    origin: mlmd.Execution | None
    events: Sequence[mlmd.Event]
    contexts: Sequence[mlmd.Context]

    @property
    def kind(self) -> str:
        """The component's class name."""
        return str(self.execution.type.rpartition(".")[2])


@dataclass(frozen=True)
class RunLineage:
    """The entries of a run.

    Attributes:
        entries: in the order in which they were written.
        artifacts: all their inputs and outputs, by id.
        newest: id of the pipeline's newest execution.
    """

    entries: Sequence[Entry]
    artifacts: Mapping[int, mlmd.Artifact]
    newest: int

    @property
    def origins(self) -> dict[int, int]:
        """The ids of the executions that wrote the results, by the ids of the run's own executions."""
        return {entry.execution.id: entry.origin.id for entry in self.entries if entry.origin is not None}

    def hash(self) -> str:
        """Return a hash of the entries, which any change to one of them changes."""
        parts = [_bytes(artifact) for _, artifact in sorted(self.artifacts.items())]
        for entry in self.entries:
            parts += [entry.node.encode(), _bytes(entry.execution), _bytes(entry.origin)]
            parts += sorted(map(_bytes, entry.events))
            parts += sorted(f"{context.id} {context.type} {context.name}".encode() for context in entry.contexts)
        return hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).hexdigest()

    def difference(self) -> str:
        """Return which result cannot be reused, by the rules of `node_cache`; '' if all can."""
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        for entry in self.entries:
            outputs = [self.artifacts[event.artifact_id] for event in entry.events if event.type == mlmd.Event.OUTPUT]
            if entry.origin is None:
                continue
            record = json.loads(entry.origin.custom_properties[node_cache.RECORD].string_value)
            live = all(artifact.state == mlmd.Artifact.LIVE for artifact in outputs)
            now = {artifact.uri: node_cache.fingerprint(artifact.uri) for artifact in outputs}
            if not live or "" in now.values() or now != record["outputs"]:
                return f"outputs of {entry.node}"
            if difference := reads.difference(record["inputs"]):
                return f"{entry.node}: {difference}"
        return ""

    def properties(self, name: str) -> list[Mapping[str, Any]]:
        """Return the custom properties of the executions that have one of this name."""
        each = [entry.execution.custom_properties for entry in self.entries]
        return [properties for properties in each if name in properties]


def open_store(root: Path) -> Any:
    """Open the metadata store of a ROOT.

    Raises:
        NodeFailed: it is damaged.
        FileNotFoundError: it does not exist.
    """
    config = metadata_store.connection_of_root(root)
    file = config.sqlite.filename_uri
    if config.WhichOneof("config") == "sqlite":
        if not Path(file).is_file():
            raise FileNotFoundError(file)
        if fault := metadata_store.fault_of_file(Path(file)):
            raise NodeFailed(f"{file}: the metadata store {fault}")
    return metadata_store.open_store(root)


def read(store: Any, run: runs.Run, origins: Mapping[int, int] | None = None) -> RunLineage:
    """Read the entries of a run that the local runner ran on this machine.

    Args:
        store: the open metadata store.
        run: the run.
        origins: see `RunLineage.origins`; None finds them.
    """
    executions: dict[int, mlmd.Execution] = {}
    for run_id in _ids(run):
        context = store.get_context_by_type_and_name(reruns.RUN, run_id)
        if context is not None:
            executions |= {e.id: e for e in store.get_executions_by_context(context.id)}
    events: dict[int, list[mlmd.Event]] = {number: [] for number in executions}
    for event in store.get_events_by_execution_ids(list(executions)) if executions else ():
        events[event.execution_id].append(event)
    contexts = {number: store.get_contexts_by_execution(number) for number in executions}
    if origins is None:
        found = {n: _origin(store, e, events[n], contexts[n]) for n, e in executions.items()}
    else:
        known = {e.id: e for e in store.get_executions_by_id(sorted(set(origins.values())))} if origins else {}
        found = {number: known[origins[number]] if number in origins else None for number in executions}
    artifacts = sorted({event.artifact_id for each in events.values() for event in each})
    return RunLineage(
        [Entry(_node(run, contexts[n]), executions[n], found[n], events[n], contexts[n]) for n in sorted(executions)],
        {a.id: a for a in store.get_artifacts_by_id(artifacts)} if artifacts else {},
        _newest(store, run.pipeline),
    )


def repeat(store: Any, lineage: RunLineage, before: runs.Run, run: runs.Run, pushed: PushedAgain) -> None:
    """Write the entries of a run that repeats another one.

    Args:
        store: the open metadata store.
        lineage: the entries of the earlier run.
        before: the earlier run.
        run: the run.
        pushed: the artifact of the Pusher.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    new_runs: dict[str, mlmd.Context] = {}

    def new_context(context: mlmd.Context) -> mlmd.Context:
        name = run.id + context.name.removeprefix(before.id)
        if name not in new_runs:
            new = mlmd.Context(type_id=context.type_id, name=name)
            for key, value in context.custom_properties.items():
                new.custom_properties[key].CopyFrom(value)
            new.custom_properties["benison_cache"].int_value = 1
            (number,) = store.put_contexts([new])
            new_runs[name] = mlmd.Context(id=number, type_id=context.type_id, name=name)
        return new_runs[name]

    for entry in lineage.entries:
        is_push = entry.kind == PUSHER
        execution = mlmd.Execution(
            type_id=entry.execution.type_id,
            name=str(uuid.uuid4()),
            last_known_state=mlmd.Execution.CACHED if entry.origin else entry.execution.last_known_state,
        )
        for key, value in entry.execution.properties.items():
            execution.properties[key].CopyFrom(value)
        for key, value in entry.execution.custom_properties.items():
            if key != node_cache.RECORD:
                execution.custom_properties[key].CopyFrom(value)
        if is_push:
            execution.custom_properties[_ATTEMPT].string_value = uuid.uuid4().hex
        pairs = []
        for event in entry.events:
            copy = mlmd.Event(type=event.type, path=event.path)
            if is_push and event.type == mlmd.Event.OUTPUT:
                pairs.append((pushed(lineage.artifacts[event.artifact_id]), copy))
            else:
                copy.artifact_id = event.artifact_id
                pairs.append((lineage.artifacts[event.artifact_id], copy))
        contexts = [
            new_context(context) if context.type == reruns.RUN else context
            for context in entry.contexts
            if not (is_push and context.type == _CACHE)
        ]
        store.put_execution(execution, pairs, contexts, force_reuse_context=True)


def _ids(run: runs.Run) -> list[str]:
    return [run.id, *(runs.sub_run_id(run.id, f"span-{number}") for number in run.window[:-1])]


def _node(run: runs.Run, contexts: Iterable[mlmd.Context]) -> str:
    """Return the id that a node has in the run: its own, or as in `StatisticsGen[3]` for an earlier span."""
    names = {context.type: context.name for context in contexts}
    node = names.get("node", "").removeprefix(f"{run.pipeline}.")
    part = names.get(reruns.RUN, "").removeprefix(run.id).removeprefix("+span-")
    return f"{node}[{part}]" if part else node


def _origin(
    store: Any, execution: mlmd.Execution, events: Iterable[mlmd.Event], contexts: Iterable[mlmd.Context]
) -> mlmd.Execution | None:
    """Return the execution that wrote the outputs of another one, which may be the same; None if nobody kept it."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    if _ATTEMPT in execution.custom_properties or node_cache.FINGERPRINT not in execution.custom_properties:
        return None
    if node_cache.RECORD in execution.custom_properties:
        return execution
    outputs = {event.artifact_id for event in events if event.type == mlmd.Event.OUTPUT}
    cache = next((context for context in contexts if context.type == _CACHE), None)
    candidates = [
        other
        for other in (store.get_executions_by_context(cache.id) if cache else ())
        if other.last_known_state == mlmd.Execution.COMPLETE and node_cache.RECORD in other.custom_properties
    ]
    written: dict[int, set[int]] = {other.id: set() for other in candidates}
    for event in store.get_events_by_execution_ids(list(written)) if written else ():
        if event.type == mlmd.Event.OUTPUT:
            written[event.execution_id].add(event.artifact_id)
    same = [other for other in candidates if written[other.id] == outputs]
    return max(same, key=lambda other: other.id, default=None)


def _newest(store: Any, pipeline: str) -> int:
    from ml_metadata.metadata_store import ListOptions, OrderByField

    context = store.get_context_by_type_and_name("pipeline", pipeline)
    if context is None:
        return 0
    last = ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False)
    return max((e.id for e in store.get_executions_by_context(context.id, list_options=last)), default=0)


def _bytes(message: Any) -> bytes:
    return b"" if message is None else bytes(message.SerializeToString(deterministic=True))
