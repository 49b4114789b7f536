"""Run a node again in the same run, as Airflow does for a retry or a cleared task.

TFX's launcher expects one execution per node and run: if that execution has finished, the launcher returns early; if
not, it writes into that execution's folders. So each later attempt gets its own context in ML Metadata, in which the
launcher finds no earlier execution. The attempt is also in the contexts of the run and of the node, and downstream
nodes read its outputs instead of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benison.pipelines.records import lineage

if TYPE_CHECKING:
    from tfx.orchestration.metadata import Metadata
    from tfx.proto.orchestration import pipeline_pb2

CONTEXT = "benison_attempt"
RUN = "pipeline_run"  # TFX's type of context for a run


def prepare_attempt(connection: Metadata, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode) -> bool:
    """Prepare a node for an attempt: close an unfinished attempt, select the newest inputs, add a context.

    Only one attempt at a node may be under way when this is called.

    Args:
        connection: the metadata store.
        pipeline: compiled, with the run's id filled in.
        node: a node of the pipeline; this changes it.

    Returns:
        True if an earlier attempt succeeded.
    """
    from tfx.orchestration.portable.mlmd import execution_lib

    with connection as handle:
        for channel in (channel for spec in node.inputs.inputs.values() for channel in spec.channels):
            _read_newest(handle.store, channel)
        earlier = _executions(handle.store, [(c.type.name, _name(c)) for c in node.contexts.contexts])
        for execution in filter(execution_lib.is_execution_active, earlier):
            _close(handle, pipeline, node, execution)
        if earlier:
            run = next(_name(c) for c in node.contexts.contexts if c.type.name == RUN)
            own = node.contexts.contexts.add()
            own.type.name = CONTEXT
            own.name.field_value.string_value = f"{run}.{node.node_info.id}.{len(earlier) + 1}"
    return any(map(execution_lib.is_execution_successful, earlier))


def close_unfinished(
    connection: Metadata, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, reason: str = ""
) -> None:
    """Mark the unfinished executions of a dead attempt as failed, and remove their incomplete outputs.

    Args:
        connection: the metadata store.
        pipeline: compiled, with the run's id filled in.
        node: a node of the pipeline.
        reason: the reason for the failure, for the execution's record.
    """
    from tfx.orchestration.portable.mlmd import execution_lib

    with connection as handle:
        for execution in _executions(handle.store, [(c.type.name, _name(c)) for c in node.contexts.contexts]):
            if execution_lib.is_execution_active(execution):
                _close(handle, pipeline, node, execution, reason)


def _close(handle: Any, pipeline: Any, node: Any, execution: Any, reason: str = "its process was killed") -> None:
    from tfx.orchestration.portable import execution_publish_utils
    from tfx.proto.orchestration import execution_result_pb2

    output = execution_result_pb2.ExecutorOutput(
        execution_result=execution_result_pb2.ExecutionResult(code=1, result_message=reason)
    )
    contexts = handle.store.get_contexts_by_execution(execution.id)
    execution_publish_utils.publish_failed_execution(handle, contexts, execution.id, output)
    lineage.remove_outputs(pipeline, node.node_info.id, execution.id)


def _read_newest(store: Any, channel: Any) -> None:
    """Restrict a channel to the producer's last successful attempt, if the run has several."""
    from tfx.orchestration.portable.mlmd import execution_lib

    queries = [(query.type.name, query.name.field_value.string_value) for query in channel.context_queries]
    if RUN not in dict(queries):  # a channel that reads across runs is not restricted
        return
    successful = list(filter(execution_lib.is_execution_successful, _executions(store, queries)))
    if len(successful) < 2:
        return
    own = next((c for c in store.get_contexts_by_execution(successful[-1].id) if c.type == CONTEXT), None)
    if own is not None:
        query = channel.context_queries.add()
        query.type.name = CONTEXT
        query.name.field_value.string_value = own.name


def _executions(store: Any, contexts: Iterable[tuple[str, str]]) -> list[Any]:
    """Return the executions that are in all of these contexts (type and name), oldest first."""
    by_context = []
    for type_name, name in contexts:
        context = store.get_context_by_type_and_name(type_name, name)
        by_context.append({e.id: e for e in store.get_executions_by_context(context.id)} if context else {})
    if not by_context:
        return []
    return [by_context[0][number] for number in sorted(set.intersection(*map(set, by_context)))]


def _name(context: Any) -> str:
    return str(context.name.field_value.string_value)
