"""Reads a run from ML Metadata: its executions, with their inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.pipelines import node
from benison.pipelines.records import metadata_store
from benison.pipelines.running import reruns

WELL = ("COMPLETE", "CACHED")


@dataclass(frozen=True)
class Artifact:
    """One that an execution read or wrote."""

    id: int
    uri: Path
    state: str


@dataclass(frozen=True)
class Execution:
    """One of a node; `inputs` and `outputs` by key."""

    id: int
    node: str
    state: str
    properties: Mapping[str, Any]
    inputs: Mapping[str, Sequence[Artifact]]
    outputs: Mapping[str, Sequence[Artifact]]


def of_run(root: Path, pipeline: str, run: str, environment: Mapping[str, str] | None = None) -> list[Execution]:
    """The executions of a run, oldest first.

    Args:
        root: ROOT.
        pipeline: name.
        run: Benison's id of it.
        environment: its BENISON_METADATA goes before ROOT's own store.
    """
    with metadata_store.of_root(root, environment or {}) as handle:
        context = handle.store.get_context_by_type_and_name(reruns.RUN, run)
        executions = handle.store.get_executions_by_context(context.id)
        return [_read(handle.store, pipeline, one) for one in sorted(executions, key=lambda one: one.id)]


def property_of_run(root: Path, run: str, name: str) -> Any:
    """A custom property of a run's context."""
    with metadata_store.of_root(root, {}) as handle:
        value = handle.store.get_context_by_type_and_name(reruns.RUN, run).custom_properties[name]
    return getattr(value, value.WhichOneof("value"))


def by_node(executions: Sequence[Execution]) -> dict[str, list[Execution]]:
    """The executions of each node, oldest first."""
    found: dict[str, list[Execution]] = {}
    for one in executions:
        found.setdefault(one.node, []).append(one)
    return found


def assert_whole(executions: Sequence[Execution], ir: Path) -> None:
    """Holds where each node's last execution ended well, read what the graph says and left all that it says.

    Artifacts that are live have their files; what did not end well has left neither artifacts nor files.

    Args:
        executions: of one run.
        ir: the run's compiled pipeline.
    """
    pipeline = node.load_ir(ir, "", {})
    last = {name: ones[-1] for name, ones in by_node(executions).items()}
    drawn = {one.pipeline_node.node_info.id: one.pipeline_node for one in pipeline.nodes}
    assert {name: one.state for name, one in last.items()} == dict.fromkeys(drawn, "COMPLETE")
    for name, one in last.items():
        assert {key: len(made) for key, made in one.outputs.items()} == dict.fromkeys(drawn[name].outputs.outputs, 1)
        for key, read in one.inputs.items():
            channels = drawn[name].inputs.inputs[key].channels
            made = [a for c in channels for a in last[c.producer_node_query.id].outputs[c.output_key]]
            assert {artifact.id for artifact in read} == {artifact.id for artifact in made}, (name, key)
    pipeline_root = Path(pipeline.runtime_spec.pipeline_root.field_value.string_value)
    for one in executions:
        artifacts = [(key, artifact) for key, made in one.outputs.items() for artifact in made]
        if one.state in WELL:
            # TFX's Evaluator leaves the folder of its blessing empty where no threshold is set.
            may_be_empty = {"blessing"} if one.node == "Evaluator" else set()
            assert [a for _, a in artifacts if a.state != "LIVE" or not a.uri.is_dir()] == [], one.node
            assert [a for key, a in artifacts if not _has_files(a.uri) and key not in may_be_empty] == [], one.node
        else:
            assert [a for _, a in artifacts if a.state == "LIVE"] == [], one.node
            assert list((pipeline_root / one.node).glob(f"*/{one.id}")) == []


def _has_files(uri: Path) -> bool:
    return any(file.is_file() for file in uri.rglob("*"))


def _read(store: Any, pipeline: str, execution: Any) -> Execution:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    contexts = store.get_contexts_by_execution(execution.id)
    name = next(context.name for context in contexts if context.type == "node").removeprefix(f"{pipeline}.")
    read: dict[str, list[Artifact]] = {}
    made: dict[str, list[Artifact]] = {}
    for event in store.get_events_by_execution_ids([execution.id]):
        (artifact,) = store.get_artifacts_by_id([event.artifact_id])
        side = read if event.type in (mlmd.Event.INPUT, mlmd.Event.DECLARED_INPUT) else made
        state = mlmd.Artifact.State.Name(artifact.state)
        side.setdefault(event.path.steps[0].key, []).append(Artifact(artifact.id, Path(artifact.uri), state))
    values = {**execution.properties, **execution.custom_properties}
    properties = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
    state = mlmd.Execution.State.Name(execution.last_known_state)
    return Execution(execution.id, name, state, properties, read, made)
