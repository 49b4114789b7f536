"""The records of earlier runs in ML Metadata: unfinished executions and deleted artifacts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.records import metadata_store, runs

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2


def abandon_unfinished(pipeline: pipeline_pb2.Pipeline, root: Path) -> int:
    """Mark the executions that killed runs left running as cancelled, and remove their incomplete outputs.

    Call this while the pipeline's lock is held: then no run in ROOT is alive. Executions of other runs stay as they
    are, because other ROOTs and other runners may share the store.

    Args:
        pipeline: compiled, with its runtime parameters filled in.
        root: ROOT.

    Returns:
        The number of these executions.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    name = pipeline.pipeline_info.id
    with metadata_store.of_pipeline(pipeline, root) as handle:
        context = handle.store.get_context_by_type_and_name("pipeline", name)
        if context is None:
            return 0
        running = [
            execution
            for execution in handle.store.get_executions_by_context(context.id)
            if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
        ]
        contexts = {e.id: {c.type: c.name for c in handle.store.get_contexts_by_execution(e.id)} for e in running}
        dead = [e for e in running if runs.belongs_to_root(contexts[e.id]["pipeline_run"], root)]
        for execution in dead:
            execution.last_known_state = mlmd.Execution.CANCELED
        if dead:
            handle.store.put_executions(dead)
    for execution in dead:
        remove_outputs(pipeline, contexts[execution.id]["node"].removeprefix(f"{name}."), execution.id)
    return len(dead)


def mark_deleted(root: Path, uris: Iterable[str]) -> None:
    """Mark artifacts as deleted, so that no node takes them from the cache.

    Args:
        root: ROOT.
        uris: the artifacts' URIs.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    with metadata_store.of_root(root) as handle:
        artifacts = [artifact for uri in uris for artifact in handle.store.get_artifacts_by_uri(uri)]
        for artifact in artifacts:
            artifact.state = mlmd.Artifact.DELETED
        handle.store.put_artifacts(artifacts)


def remove_outputs(pipeline: pipeline_pb2.Pipeline, node_id: str, execution_id: int) -> None:
    """Remove the outputs and the temporary files of a failed execution."""
    from tfx.dsl.io import fileio

    # TFX's layout is ROOT/NODE/KEY/EXECUTION, with .system beside the keys.
    folder = os.path.join(pipeline.runtime_spec.pipeline_root.field_value.string_value, node_id)
    for parts in (("*",), (".system", "executor_execution")):
        for path in fileio.glob(os.path.join(folder, *parts, str(execution_id))):
            fileio.rmtree(path)
