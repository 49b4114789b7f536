"""A graph in parts: the interpreter is held while one of them goes into a session's graph, and is free between two.

TensorFlow's Python binding keeps the interpreter's lock during the import of a graph: a tenth of a second for ten
thousand operations, in which no request is answered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benison.serving.server.engines import low_priority

_NODES = 64
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
CONTROL = -1  # the index of an edge that carries no tensor
Edge = tuple[str, int]  # name of the operation and index of its output


@dataclass
class Part:
    """Some operations that follow each other.

    Attributes:
        nodes: tf.compat.v1.NodeDef of each.
        reads: what they read of earlier parts.
        read_later: what later parts read of them.
    """

    nodes: list[Any] = field(default_factory=list)
    reads: set[Edge] = field(default_factory=set)
    read_later: set[Edge] = field(default_factory=set)


def put(graph: Any, graph_def: Any) -> None:
    """Adds operations and functions to an empty graph; the shapes of what functions return stay unknown to it.

    Args:
        graph: tf.Graph; gets no Python object for an operation.
        graph_def: tf.compat.v1.GraphDef; its calls of functions are marked.

    Raises:
        tf.errors.OpError, ValueError, KeyError: it is no graph.
    """
    for node in graph_def.node:
        if node.op in _CALLS:
            # Only a graph that is added to would use them; to work them out takes longer than all the rest.
            node.attr["_disable_call_shape_inference"].b = True
    known: dict[Edge, Any] = {}
    for library in _libraries(graph_def):
        _import(graph, library, Part(), known)
    for part in parts(graph_def.node):
        _import(graph, type(graph_def)(versions=graph_def.versions, node=part.nodes), part, known)


def parts(nodes: Sequence[Any]) -> list[Part]:
    """Cuts a graph where nothing before the cut needs anything behind it.

    Args:
        nodes: tf.compat.v1.NodeDef of each operation.

    Raises:
        KeyError: an operation reads one that is not there.
    """
    place_of = {node.name: place for place, node in enumerate(nodes)}
    made: list[Part] = []
    part_of: dict[str, Part] = {}
    together = -1
    for place, node in enumerate(nodes):
        if place > together and (not made or len(made[-1].nodes) >= _NODES):
            made.append(Part())
        made[-1].nodes.append(node)
        part_of[node.name] = made[-1]
        together = max(together, *(place_of.get(name, 0) for name in _not_after(node)))
    for part in made:
        for edge in (_edge(text) for node in part.nodes for text in node.input):
            source = part_of[edge[0]]
            if source is not part:
                part.reads.add(edge)
                source.read_later.add(edge)
    return made


def _not_after(node: Any) -> Iterator[str]:
    """The names of what may be in the part of an operation or in an earlier one, but not in a later one.

    That is what it reads: in a loop of version 1 this comes later. And for `a/b` it is an `a`, as TensorFlow takes a
    name for used where it is the beginning of another.
    """
    yield node.name
    yield from (_edge(text)[0] for text in node.input)
    scopes = node.name.split("/")
    yield from ("/".join(scopes[:depth]) for depth in range(1, len(scopes)))


def _edge(text: str) -> Edge:
    """What an input says: `^name`, `name` or `name:index`."""
    if text.startswith("^"):
        return text[1:], CONTROL
    name, _, index = text.partition(":")
    return name, int(index or 0)


def _libraries(graph_def: Any) -> Iterator[Any]:
    """The functions, some at a time, as graphs without operations; with the last ones what else is in the library."""
    library = graph_def.library
    some, nodes = type(graph_def)(versions=graph_def.versions), 0
    for function in library.function:
        some.library.function.append(function)
        nodes += len(function.node_def)
        if nodes >= _NODES:
            yield some
            some, nodes = type(graph_def)(versions=graph_def.versions), 0
    some.library.gradient.extend(library.gradient)
    some.library.registered_gradients.extend(library.registered_gradients)
    yield some


def _import(graph: Any, graph_def: Any, part: Part, known: dict[Edge, Any]) -> None:
    """Adds what a part holds; `known` has what earlier parts are read for, and gets what this one is."""
    from tensorflow.python.client import pywrap_tf_session as c_api
    from tensorflow.python.framework import c_api_util

    scoped = c_api_util.ScopedTFImportGraphDefOptions()
    options = scoped.options
    # An operation may be told to be where one of another part is.
    c_api.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options, False)
    for name, index in part.reads:
        if index == CONTROL:
            c_api.TF_ImportGraphDefOptionsRemapControlDependency(options, name, known[name, index])
        else:
            c_api.TF_ImportGraphDefOptionsAddInputMapping(options, name, index, known[name, index])
    operations = [edge for edge in part.read_later if edge[1] == CONTROL]
    outputs = [edge for edge in part.read_later if edge[1] != CONTROL]
    for name, _ in operations:
        c_api.TF_ImportGraphDefOptionsAddReturnOperation(options, name)
    for name, index in outputs:
        c_api.TF_ImportGraphDefOptionsAddReturnOutput(options, name, index)
    begun = time.monotonic()
    buffer = c_api.TF_NewBufferFromString(graph_def.SerializeToString())
    try:
        with graph._c_graph.get() as c_graph:
            made = c_api_util.ScopedTFImportGraphDefResults(
                c_api.TF_GraphImportGraphDefWithResults(c_graph, buffer, options)
            )
    finally:
        c_api.TF_DeleteBuffer(buffer)
    known.update(zip(operations, c_api.TF_ImportGraphDefResultsReturnOperations(made.results), strict=True))
    known.update(zip(outputs, c_api.TF_ImportGraphDefResultsReturnOutputs(made.results), strict=True))
    low_priority.rest(time.monotonic() - begun)
