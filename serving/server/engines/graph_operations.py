"""Finds operations of a graph that make the time of a run unpredictable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# Loops, and operations that call Python or read files or datasets.
_UNBOUNDED = frozenset(
    [
        "Enter",
        "RefEnter",
        "While",
        "StatelessWhile",
        "For",
        "PyFunc",
        "PyFuncStateless",
        "EagerPyFunc",
        "IteratorGetNext",
        "ReduceDataset",
        "ReadFile",
    ]
)


def unbounded_operation(graph: Any, tensors: Sequence[str]) -> str:
    """Find an operation that lets a run take any time, whatever the number of rows.

    Args:
        graph: a tf.compat.v1.GraphDef.
        tensors: the names of the tensors that a run computes; empty names are ignored.

    Returns:
        The type of such an operation that these tensors need; empty if there is none.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    seen: set[str] = set()
    for operation_type, called in _needed_operations(graph, [name for name in tensors if name]):
        if operation_type in _UNBOUNDED:
            return operation_type
        if unbounded := _unbounded_in_functions(called, functions, seen):
            return unbounded
    return ""


def _needed_operations(graph: Any, tensors: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the type and the called functions of each operation that these tensors need."""
    nodes = {node.name: node for node in graph.node}
    pending = [_operation(name) for name in tensors]
    seen = set(pending)
    while pending:
        node = nodes.get(pending.pop())
        if node is None:
            continue  # the run reports the missing operation
        yield node.op, _called_functions(node.attr)
        new = {_operation(name) for name in node.input} - seen
        pending += new
        seen |= new


def _operation(tensor: str) -> str:
    """Return the operation of an input: `a` for the tensor `a:1` and for the control edge `^a`."""
    return tensor.removeprefix("^").partition(":")[0]


def _unbounded_in_functions(names: Sequence[str], functions: dict[str, Any], seen: set[str]) -> str:
    """Find an unbounded operation in the bodies of functions and of the functions that they call."""
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            if node.op in _UNBOUNDED:
                return str(node.op)
            pending += [node.op, *_called_functions(node.attr)]
    return ""


def _called_functions(attributes: Any) -> list[str]:
    called = []
    for value in attributes.values():
        if value.HasField("func"):
            called.append(value.func.name)
        called += [function.name for function in value.list.func]
    return called
