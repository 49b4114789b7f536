"""Finds operations of a graph that make the time of a run unpredictable."""

from __future__ import annotations

from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.search import Search

# Loops, and operations that call Python, read files or datasets, or wait for other runs.
_UNBOUNDED = frozenset(
    [
        "Enter",
        "RefEnter",
        "While",
        "StatelessWhile",
        "For",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "IteratorGetNext",
        "ReduceDataset",
        "ReadFile",
        "QueueDequeue",
        "QueueDequeueV2",
        "QueueDequeueMany",
        "QueueDequeueManyV2",
        "QueueDequeueUpTo",
        "QueueDequeueUpToV2",
        "QueueEnqueue",
        "QueueEnqueueV2",
        "QueueEnqueueMany",
        "QueueEnqueueManyV2",
        "BarrierTakeMany",
        "Stage",
        "Unstage",
        "MapStage",
        "MapUnstage",
        "OrderedMapStage",
        "OrderedMapUnstage",
    ]
)


def unbounded_operations(graph: IndexedGraph) -> Search:
    """Return a search for the types of operations that let a run take any time, whatever the number of rows."""
    return Search(graph, lambda node: str(node.op) if node.op in _UNBOUNDED else "")
