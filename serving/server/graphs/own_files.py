"""Tells which tensors are the names of a model's own files, also of those that TensorFlow 2 keeps in variables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.operation import names

_STRING, _RESOURCE = 7, 20  # tf.string and tf.resource in protos
# Operations whose handles are no other handle of a variable, if they make them or if they pass those of others on.
_HANDLES = frozenset(
    names(
        "VarHandleOp HashTableV2 MutableHashTableV2 MutableHashTableOfTensorsV2 MutableDenseHashTableV2 "
        "AnonymousHashTable AnonymousMutableHashTable AnonymousMutableHashTableOfTensors "
        "AnonymousMutableDenseHashTable DummyMemoryCache AnonymousMemoryCache DummySeedGenerator "
        "AnonymousSeedGenerator AnonymousRandomSeedGenerator DummyIterationCounter "
        "Identity PartitionedCall StatefulPartitionedCall If StatelessIf Case StatelessCase While StatelessWhile "
        "Switch Merge Enter Exit NextIteration"
    )
)


class Tensors:
    """Tell which tensors of a graph or a function are names of own files, in one run."""

    def __init__(self, nodes: Mapping[str, Any], own_files: Collection[str] = (), fed: Collection[str] = ()) -> None:
        """Look at nothing yet.

        Args:
            nodes: each NodeDef by its name.
            own_files: the tensors, or arguments of the function, that are the names of the model's own files.
            fed: the tensors that get other values in this run.
        """
        self._nodes = nodes
        self._fed = {_whole_name(name) for name in fed}
        self._own_files = {_whole_name(name) for name in own_files} - self._fed

    def is_own_file(self, tensor: str) -> bool:
        """Return whether a tensor is the name of one of the model's own files."""
        name, passed = _whole_name(tensor), set[str]()
        while name not in self._own_files:
            node = self._nodes.get(_operation(name))
            if node is None or node.op != "Identity" or not node.input or name in self._fed or name in passed:
                return False
            passed.add(name)
            name = _whole_name(node.input[0])
        return True

    def is_empty_text(self, tensor: str) -> bool:
        """Return whether a tensor is a constant, empty text."""
        node = self._nodes.get(_operation(tensor))
        if node is None or node.op != "Const" or _whole_name(tensor) in self._fed:
            return False
        value = node.attr["value"].tensor
        return value.dtype == _STRING and not any(value.string_val) and not value.tensor_content


def kept_in_variables(graph: IndexedGraph, assets: Collection[str], other_runs: Iterable[str]) -> set[str]:
    """Return the tensors that read names of own files from variables, where TensorFlow 2 keeps those of assets.

    Only the initialization may write such a variable, and only such names.

    Args:
        graph: the graph.
        assets: the tensors that the initialization feeds with the names of the model's own files.
        other_runs: the names of the tensors or operations that other runs compute.
    """
    handles = {name: node for name, node in graph.nodes.items() if node.op == "VarHandleOp"}
    if not assets or not handles:
        return set()
    in_functions = [node for function in graph.functions.values() for node in function.node_def]
    others = [node for node in in_functions if node.op == "VarHandleOp"]
    if any(not node.attr["shared_name"].s for node in others):
        return set()
    if any(_makes_handles(node, graph) for node in [*graph.nodes.values(), *in_functions]):
        return set()
    tensors, run_again = Tensors(graph.nodes, assets), {node.name for node in graph.needed(other_runs)}
    readers: dict[str, list[str]] = defaultdict(list)
    written, unknown = set[str](), set[str]()
    for node in graph.nodes.values():
        for place, text in enumerate(node.input):
            handle = _operation(text)
            if handle not in handles:
                continue
            if node.op == "ReadVariableOp":
                readers[handle].append(f"{node.name}:0")
            elif (
                node.op == "AssignVariableOp"
                and place == 0
                and tensors.is_own_file(node.input[1])
                and node.name not in run_again  # there, the asset's tensor would have another value
            ):
                written.add(handle)
            elif node.op != "VarIsInitializedOp":
                unknown.add(handle)
    shared = Counter(_shared_name(node) for node in [*handles.values(), *others])
    own = {name for name in written - unknown if shared[_shared_name(handles[name])] == 1}
    return {reader for name in own for reader in readers[name]}


def _makes_handles(node: Any, graph: IndexedGraph) -> bool:
    """Return whether an operation may make a handle of any variable, such as a constant handle."""
    if node.op in _HANDLES or node.op in graph.functions:
        return False
    definition = graph.definition(node.op)
    return definition is None or any(_RESOURCE in _types(node, output, definition) for output in definition.output_arg)


def _types(node: Any, output: Any, definition: Any) -> Collection[int]:
    name = output.type_attr or output.type_list_attr
    if not name:
        return [output.type]
    value = node.attr.get(name)
    if value is None:  # a SavedModel may leave out attributes that have the default value
        value = next(attribute.default_value for attribute in definition.attr if attribute.name == name)
    return value.list.type if output.type_list_attr else [value.type]


def _shared_name(handle: Any) -> bytes:
    return bytes(handle.attr["shared_name"].s) or str(handle.name).encode()


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]


def _whole_name(tensor: str) -> str:
    """Return a tensor's name with the index of the output, in the one way that TensorFlow writes it too.

    TensorFlow reads `x` and `x:00` as `x:0`.
    """
    name, _, index = tensor.rpartition(":")
    if not name:
        return f"{tensor}:0"
    return f"{name}:{int(index)}" if index.isascii() and index.isdecimal() else tensor
