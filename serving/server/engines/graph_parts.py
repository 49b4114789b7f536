"""Imports a graph in parts, so that requests are answered between two parts.

TensorFlow's Python binding holds the interpreter lock while it imports a graph: a tenth of a second for ten thousand
operations. No request is answered in this time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benison.serving.server.engines import low_priority, private_tensorflow
from benison.serving.server.engines.private_tensorflow import CONTROL, Edge

_PART_SIZE = 64  # operations
_FUNCTION_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


@dataclass
class GraphPart:
    """Consecutive operations of a graph.

    Attributes:
        nodes: the tf.compat.v1.NodeDef of each operation.
        reads: the edges that they read from earlier parts.
        read_later: the edges that later parts read from them.
    """

    nodes: list[Any] = field(default_factory=list)
    reads: set[Edge] = field(default_factory=set)
    read_later: set[Edge] = field(default_factory=set)


def import_graph(graph: Any, graph_def: Any) -> None:
    """Add operations and functions to an empty graph, without the output shapes of function calls.

    Args:
        graph: a tf.Graph; it gets no Python object for an operation.
        graph_def: a tf.compat.v1.GraphDef; its function calls are marked.

    Raises:
        tf.errors.OpError, ValueError, KeyError: The graph is invalid.
    """
    for node in graph_def.node:
        if node.op in _FUNCTION_CALLS:
            # The shapes would help only a caller that extends the graph; inferring them takes longer than the import.
            private_tensorflow.skip_shape_inference(node)
    handles: dict[Edge, Any] = {}
    for library in _libraries(graph_def):
        _import(graph, library, GraphPart(), handles)
    for part in split(graph_def.node):
        _import(graph, type(graph_def)(versions=graph_def.versions, node=part.nodes), part, handles)


def split(nodes: Sequence[Any]) -> list[GraphPart]:
    """Split a graph into parts that read only from themselves and from earlier parts.

    Args:
        nodes: the tf.compat.v1.NodeDef of each operation.

    Raises:
        KeyError: An operation reads from one that does not exist.
    """
    positions = {node.name: position for position, node in enumerate(nodes)}
    parts: list[GraphPart] = []
    part_of: dict[str, GraphPart] = {}
    no_split_before = -1
    for position, node in enumerate(nodes):
        if position > no_split_before and (not parts or len(parts[-1].nodes) >= _PART_SIZE):
            parts.append(GraphPart())
        parts[-1].nodes.append(node)
        part_of[node.name] = parts[-1]
        no_split_before = max(no_split_before, *(positions.get(name, 0) for name in _needed_names(node)))
    for part in parts:
        for edge in (_edge(text) for node in part.nodes for text in node.input):
            source = part_of[edge[0]]
            if source is not part:
                part.reads.add(edge)
                source.read_later.add(edge)
    return parts


def _needed_names(node: Any) -> Iterator[str]:
    """Yield the names of the operations that must not be in a later part than an operation.

    These are its inputs, which come later in a loop of control flow version 1. For `a/b` it is also `a`: TensorFlow
    refuses to add `a` after `a/b`, because it takes the beginning of a name as used.
    """
    yield node.name
    yield from (_edge(text)[0] for text in node.input)
    scopes = node.name.split("/")
    yield from ("/".join(scopes[:depth]) for depth in range(1, len(scopes)))


def _edge(text: str) -> Edge:
    """Parse an input of a NodeDef: `^name`, `name` or `name:index`."""
    if text.startswith("^"):
        return text[1:], CONTROL
    name, _, index = text.partition(":")
    return name, int(index or 0)


def _libraries(graph_def: Any) -> Iterator[Any]:
    """Yield the functions in batches, as graphs without operations; the last batch has the rest of the library."""
    library = graph_def.library
    batch, size = type(graph_def)(versions=graph_def.versions), 0
    for function in library.function:
        batch.library.function.append(function)
        size += len(function.node_def)
        if size >= _PART_SIZE:
            yield batch
            batch, size = type(graph_def)(versions=graph_def.versions), 0
    batch.library.gradient.extend(library.gradient)
    batch.library.registered_gradients.extend(library.registered_gradients)
    yield batch


def _import(graph: Any, graph_def: Any, part: GraphPart, handles: dict[Edge, Any]) -> None:
    """Add a part to the graph; `handles` has what the part reads and gets what later parts read of it."""
    start = time.monotonic()
    inputs = {edge: handles[edge] for edge in part.reads}
    handles.update(private_tensorflow.import_graph_def(graph, graph_def, inputs, part.read_later))
    low_priority.pause(time.monotonic() - start)
