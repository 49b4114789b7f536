"""Finds operations that cannot run here: this TensorFlow does not know them, or has no kernel for their types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.search import Search

_PYTHON = frozenset(["EagerPyFunc", "PyFunc", "PyFuncStateless"])
Constraints = tuple[tuple[str, frozenset[int]], ...]  # the numbers of the allowed types by attribute


class Kernels:
    """Finds operations that cannot run in one graph."""

    def __init__(
        self, graph: IndexedGraph, registered: Callable[[str], Sequence[Any]], devices: Collection[str]
    ) -> None:
        """Look at nothing yet.

        Args:
            graph: the graph.
            registered: returns the KernelDefs of a type of operation.
            devices: the types of the session's devices, such as `CPU`.
        """
        self._graph = graph
        self._registered = registered
        self._devices = {*devices, "DEFAULT"}
        self._kernels = cache(self._kernels_of)
        self._search = Search(graph, self._reason)

    def missing(self, outputs: Iterable[str]) -> str:
        """Return why an operation of a run cannot run here; empty if all can.

        Args:
            outputs: the names of the tensors that the run computes.
        """
        return self._search.first(outputs)

    def _reason(self, node: Any) -> str:
        if node.op in _PYTHON:
            return f"{node.op} {node.name} calls Python code, which a SavedModel does not contain"
        if node.op in self._graph.functions:
            return ""
        if self._graph.definition(node.op) is None:
            return f"Op type not registered '{node.op}'"
        kernels = self._kernels(node.op)
        if any(all(_allows(node, *constraint) for constraint in kernel) for kernel in kernels):
            return ""
        return f"{node.op} {node.name} has no kernel for its types on {', '.join(sorted(self._devices - {'DEFAULT'}))}"

    def _kernels_of(self, operation: str) -> tuple[Constraints, ...]:
        return tuple(
            sorted(
                {
                    tuple((each.name, frozenset(each.allowed_values.list.type)) for each in kernel.constraint)
                    for kernel in self._registered(operation)
                    if kernel.device_type in self._devices
                },
                key=len,
            )
        )


def _allows(node: Any, attribute: str, types: frozenset[int]) -> bool:
    """Return whether a kernel takes an attribute's types; one that has its default or the caller's is not checked."""
    if attribute not in node.attr:
        return True
    value = node.attr[attribute]
    kind = value.WhichOneof("value")
    if kind == "type":
        return value.type in types
    return types.issuperset(value.list.type) if kind == "list" else True
