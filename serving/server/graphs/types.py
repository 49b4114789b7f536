"""The types of tensors as the graph has them; a signature may declare others."""

from __future__ import annotations

from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.operation import output_offsets


def type_of(tensor: str, graph: IndexedGraph) -> int:
    """Return the type of a tensor as a number of DataType; 0 if the graph does not tell."""
    name, _, index = tensor.partition(":")
    node = graph.nodes.get(name)
    definition = graph.definition(node.op) if node else None
    if node is None or not definition or not index.isdigit():
        return 0
    offsets = output_offsets(node, definition)
    for argument in reversed(definition.output_arg):
        if offsets[argument.name] <= int(index) < offsets[""]:
            if argument.type_list_attr:
                return int(node.attr[argument.type_list_attr].list.type[int(index) - offsets[argument.name]])
            return int(argument.type or node.attr[argument.type_attr].type)
    return 0
