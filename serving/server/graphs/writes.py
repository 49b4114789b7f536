"""Finds operations with a lasting effect: a run of theirs that no client asked for would change later answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph, called_functions
from benison.serving.server.graphs.operation import names

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


class Writes:
    """Finds operations with a lasting effect in one graph."""

    def __init__(self, graph: IndexedGraph) -> None:
        """Look at nothing yet."""
        self._graph = graph
        self._effects: dict[str, str] = {}  # of functions

    def operation(self, outputs: Iterable[str]) -> str:
        """Find an operation with a lasting effect in a run.

        It writes a variable, a table or a file, draws random numbers, or runs code that nobody knows.

        Args:
            outputs: the names of the tensors that the run computes.

        Returns:
            The type and the name of the operation; empty if there is none.
        """
        return self._first(self._graph.needed(outputs))

    def _first(self, nodes: Iterable[Any]) -> str:
        """Return the first operation with an effect, among these or in a function that one of them calls."""
        for node in nodes:
            if self._writes(node):
                return f"{node.op} {node.name}"
            for name in called_functions(node):
                if effect := self._of_function(name):
                    return effect
        return ""

    def _of_function(self, name: str) -> str:
        if name not in self._effects:
            self._effects[name] = f"the function {name}, which calls itself,"  # nobody knows how often
            self._effects[name] = (
                self._first(self._graph.functions[name].node_def) if name in self._graph.functions else ""
            )
        return self._effects[name]

    def _writes(self, node: Any) -> bool:
        if node.op in _READ:
            return False
        definition = self._graph.definition(node.op)
        if definition is None or node.op in _WRITES:
            return True
        # An operation of TensorFlow 1 that writes a variable takes a reference to it.
        return bool(definition.is_stateful) or any(argument.is_ref for argument in definition.input_arg)
