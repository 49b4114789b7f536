"""Finds an operation of a kind among those that a run needs, also within the functions that they call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph, called_functions


class Search:
    """Finds the first operation of a kind in one graph; it looks at each function once."""

    def __init__(self, graph: IndexedGraph, match: Callable[[Any], str], recursion: str = "") -> None:
        """Look at nothing yet.

        Args:
            graph: the graph.
            match: returns what to say about a NodeDef of the kind; empty for any other.
            recursion: what to say about a function that calls itself, with `{}` for its name; empty if nothing.
        """
        self._graph = graph
        self._match = match
        self._recursion = recursion
        self._of_functions: dict[str, str] = {}

    def first(self, outputs: Iterable[str]) -> str:
        """Return what to say about the first such operation of a run; empty if there is none.

        Args:
            outputs: the names of the tensors that the run computes.
        """
        return self._first(self._graph.needed(outputs))

    def _first(self, nodes: Iterable[Any]) -> str:
        for node in nodes:
            if text := self._match(node):
                return text
            for name in (node.op, *called_functions(node)):  # a function can be called by its name as a type
                if text := self._of_function(name):
                    return text
        return ""

    def _of_function(self, name: str) -> str:
        if name not in self._of_functions:
            function = self._graph.functions.get(name)
            self._of_functions[name] = self._recursion.format(name)
            self._of_functions[name] = self._first(function.node_def) if function else ""
        return self._of_functions[name]
