"""Finds operations with a lasting effect: a run of theirs that no client asked for would change later answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.operation import names
from benison.serving.server.graphs.search import Search

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
        # Nobody knows how often a function calls itself.
        self._search = Search(graph, self._effect, "the function {}, which calls itself,")

    def operation(self, outputs: Iterable[str]) -> str:
        """Find an operation with a lasting effect in a run.

        It writes a variable, a table or a file, draws random numbers, or runs code that nobody knows.

        Args:
            outputs: the names of the tensors that the run computes.

        Returns:
            The type and the name of the operation; empty if there is none.
        """
        return self._search.first(outputs)

    def _effect(self, node: Any) -> str:
        if node.op in _READ:
            return ""
        definition = self._graph.definition(node.op)
        # An operation of TensorFlow 1 that writes a variable takes a reference to it.
        writes = (
            definition is None
            or node.op in _WRITES
            or definition.is_stateful
            or any(argument.is_ref for argument in definition.input_arg)
        )
        return f"{node.op} {node.name}" if writes else ""
