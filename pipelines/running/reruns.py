"""A node that is asked for again in the same run, as Airflow does with a retry or where a task is cleared.

TFX's launcher knows one execution of a node and run: it returns early where that one has finished, and writes into its
folders where it has not. So each later attempt gets a context of its own in ML Metadata, by which the launcher finds no
earlier execution; it stands in the contexts of the run and of the node beside the earlier ones, and what comes after it
reads its outputs instead of theirs.
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


def prepare(connection: Metadata, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode) -> bool:
    """Makes a node ready for another attempt: closes an unfinished one, reads the newest inputs, sets the context.

    To be called by the only attempt that is under way.

    Args:
        connection: the metadata store.
        pipeline: compiled, with the run's id put in.
        node: of the pipeline; is changed.

    Returns:
        Whether an earlier attempt ended well.
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
    """Marks what a dead attempt left running as failed, and removes what it had half written.

    Args:
        connection: the metadata store.
        pipeline: compiled, with the run's id put in.
        node: of the pipeline.
        reason: why, for the execution's record.
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
    """Narrows a channel down to the producer's last attempt that ended well, where the run has several."""
    from tfx.orchestration.portable.mlmd import execution_lib

    queries = [(query.type.name, query.name.field_value.string_value) for query in channel.context_queries]
    if RUN not in dict(queries):  # one that reads across runs takes what it takes
        return
    ended = list(filter(execution_lib.is_execution_successful, _executions(store, queries)))
    if len(ended) < 2:
        return
    own = next((c for c in store.get_contexts_by_execution(ended[-1].id) if c.type == CONTEXT), None)
    if own is not None:
        query = channel.context_queries.add()
        query.type.name = CONTEXT
        query.name.field_value.string_value = own.name


def _executions(store: Any, contexts: Iterable[tuple[str, str]]) -> list[Any]:
    """The executions that stand in all of these contexts (type and name), oldest first."""
    inside = []
    for kind, name in contexts:
        context = store.get_context_by_type_and_name(kind, name)
        inside.append({e.id: e for e in store.get_executions_by_context(context.id)} if context else {})
    return [inside[0][number] for number in sorted(set.intersection(*map(set, inside)))] if inside else []


def _name(context: Any) -> str:
    return str(context.name.field_value.string_value)
