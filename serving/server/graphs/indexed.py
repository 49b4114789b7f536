"""A graph whose operations and functions are found by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class IndexedGraph:
    """The operations and functions of a graph.

    Attributes:
        nodes: each NodeDef by its name.
        functions: each FunctionDef of the library by its name.
        definition: returns the OpDef of a type of operation; None for one that TensorFlow does not know.
    """

    nodes: Mapping[str, Any]
    functions: Mapping[str, Any]
    definition: Callable[[str], Any]

    @classmethod
    def of(cls, graph: Any, definition: Callable[[str], Any]) -> IndexedGraph:
        """Index a tf.compat.v1.GraphDef."""
        nodes = {node.name: node for node in graph.node}
        return cls(nodes, {function.signature.name: function for function in graph.library.function}, definition)
