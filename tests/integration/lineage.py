"""What ML Metadata holds of a run: its executions and their properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.records import metadata_store
from pipelines.running import reruns


@dataclass(frozen=True)
class Execution:
    """One of a node."""

    node: str
    state: str
    properties: Mapping[str, Any]


def of_run(root: Path, pipeline: str, run: str) -> list[Execution]:
    """The executions of a run, oldest first."""
    with metadata_store.of_root(root, {}) as handle:
        context = handle.store.get_context_by_type_and_name(reruns.RUN, run)
        executions = handle.store.get_executions_by_context(context.id)
        return [_read(handle.store, pipeline, one) for one in sorted(executions, key=lambda one: one.id)]


def property_of_run(root: Path, run: str, name: str) -> Any:
    """A custom property of a run's context."""
    with metadata_store.of_root(root, {}) as handle:
        value = handle.store.get_context_by_type_and_name(reruns.RUN, run).custom_properties[name]
    return getattr(value, value.WhichOneof("value"))


def _read(store: Any, pipeline: str, execution: Any) -> Execution:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    contexts = store.get_contexts_by_execution(execution.id)
    name = next(context.name for context in contexts if context.type == "node").removeprefix(f"{pipeline}.")
    values = {**execution.properties, **execution.custom_properties}
    properties = {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}
    state = mlmd.Execution.State.Name(execution.last_known_state)
    return Execution(name, state, properties)
