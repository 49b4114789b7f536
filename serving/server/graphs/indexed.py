"""A graph whose operations and functions are found by their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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

    def needed(self, outputs: Iterable[str]) -> Iterator[Any]:
        """Yield the operations that some tensors or operations need, also those that must only run before them."""
        pending = [name.partition(":")[0] for name in outputs if name]
        seen = set(pending)
        while pending:
            node = self.nodes.get(pending.pop())
            if node is None:
                continue  # the run reports the missing operation
            yield node
            new = {text.removeprefix("^").partition(":")[0] for text in node.input} - seen
            pending += new
            seen |= new


def called_functions(node: Any) -> Iterator[str]:
    """Yield the functions that the attributes of an operation name."""
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            yield value.func.name
        elif kind == "list":
            yield from (function.name for function in value.list.func)
