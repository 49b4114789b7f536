"""The types of tensors as the graph has them; a signature may declare others."""

from __future__ import annotations

from typing import Any

from benison.serving.server.graphs.operation import Definitions, output_offsets


class TensorTypes:
    """The types of the tensors of one graph."""

    def __init__(self, graph: Any, definitions: Definitions) -> None:
        """Index the operations.

        Args:
            graph: a tf.compat.v1.GraphDef.
            definitions: returns the OpDef of a type of operation; None for one that TensorFlow does not know.
        """
        self._nodes = {node.name: node for node in graph.node}
        self._definitions = definitions

    def of(self, tensor: str) -> int:
        """Return the type of a tensor as a number of DataType; 0 if the graph does not tell."""
        name, _, index = tensor.partition(":")
        node = self._nodes.get(name)
        definition = self._definitions(node.op) if node else None
        if node is None or not definition or not index.isdigit():
            return 0
        offsets = output_offsets(node, definition)
        for argument in reversed(definition.output_arg):
            if offsets[argument.name] <= int(index) < offsets[""]:
                if argument.type_list_attr:
                    return int(node.attr[argument.type_list_attr].list.type[int(index) - offsets[argument.name]])
                return int(argument.type or node.attr[argument.type_attr].type)
        return 0
