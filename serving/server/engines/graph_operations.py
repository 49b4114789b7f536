"""Finds operations of a graph that make the time of a run unpredictable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph, called_functions

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


def unbounded_operation(graph: IndexedGraph, tensors: Sequence[str]) -> str:
    """Find an operation that lets a run take any time, whatever the number of rows.

    Args:
        graph: the graph.
        tensors: the names of the tensors that a run computes; empty names are ignored.

    Returns:
        The type of such an operation that these tensors need; empty if there is none.
    """
    seen: set[str] = set()
    for node in graph.needed(tensors):
        if node.op in _UNBOUNDED:
            return str(node.op)
        if unbounded := _unbounded_in_functions(called_functions(node), graph.functions, seen):
            return unbounded
    return ""


def _unbounded_in_functions(names: Iterable[str], functions: Mapping[str, Any], seen: set[str]) -> str:
    """Find an unbounded operation in the bodies of functions and of the functions that they call."""
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            if node.op in _UNBOUNDED:
                return str(node.op)
            pending += [node.op, *called_functions(node)]
    return ""
