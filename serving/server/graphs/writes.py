"""Finds operations with a lasting effect: a run of theirs that no client asked for would change later answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benison.serving.server.graphs.operation import Definitions, names

# Stateful operations of TensorFlow that only read, or whose state ends with the run. Variables and tables begin as they
# were saved: making the handle of one changes nothing.
_READ = frozenset(
    names(
        "Assert VarHandleOp ReadVariableOp VariableShape VarIsInitializedOp VariableV2 Variable IsVariableInitialized "
        "ResourceGather ResourceGatherNd HashTable HashTableV2 MutableHashTable MutableHashTableV2 "
        "MutableHashTableOfTensors MutableHashTableOfTensorsV2 MutableDenseHashTable MutableDenseHashTableV2 "
        "AnonymousHashTable LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2 LookupTableExport "
        "LookupTableExportV2 StatefulPartitionedCall If While Case TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 "
        "TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3 TensorArrayCloseV3 TensorArrayConcatV3 "
        "TensorArraySplitV3"
    )
)
# Operations that TensorFlow does not call stateful although they have an effect outside, or call any code.
_WRITES = frozenset(["PyFuncStateless"])


def writing_operation(graph: Any, outputs: Iterable[str], definitions: Definitions) -> str:
    """Find an operation with a lasting effect in a run.

    It writes a variable, a table or a file, draws random numbers, or runs code that nobody knows.

    Args:
        graph: a tf.compat.v1.GraphDef.
        outputs: the names of the tensors that the run computes.
        definitions: returns the OpDef of a type of operation; None for one that TensorFlow does not know.

    Returns:
        The type and the name of the operation; empty if there is none.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    seen: set[str] = set()
    for node in _needed(nodes, outputs):
        if reason := _effect(node, functions, definitions, seen):
            return reason
    return ""


def _needed(nodes: Mapping[str, Any], outputs: Iterable[str]) -> Iterator[Any]:
    """Yield the operations that these tensors need, also those that must only run before them."""
    pending = [name.partition(":")[0] for name in outputs if name]
    seen = set(pending)
    while pending:
        node = nodes.get(pending.pop())
        if node is None:
            continue
        yield node
        new = {text.removeprefix("^").partition(":")[0] for text in node.input} - seen
        pending += new
        seen |= new


def _effect(node: Any, functions: Mapping[str, Any], definitions: Definitions, seen: set[str]) -> str:
    """Return the operation with an effect in an operation or in a function that it calls."""
    pending = [node]
    while pending:
        current = pending.pop()
        if _writes(current, definitions):
            return f"{current.op} {current.name}"
        for name in _called(current):
            if name not in seen and name in functions:
                seen.add(name)
                pending += functions[name].node_def
    return ""


def _writes(node: Any, definitions: Definitions) -> bool:
    if node.op in _READ:
        return False
    definition = definitions(node.op)
    if definition is None or node.op in _WRITES:
        return True
    # An operation of TensorFlow 1 that writes a variable takes a reference to it.
    return bool(definition.is_stateful) or any(argument.is_ref for argument in definition.input_arg)


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)
