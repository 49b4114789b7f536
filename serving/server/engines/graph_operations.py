"""What a graph's operations say about how long a run may take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# Loops, and what calls Python or reads from elsewhere.
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
    """An operation on the way to some tensors by which a run may take any time, whatever the number of its rows.

    Args:
        graph: a tf.compat.v1.GraphDef.
        tensors: names in it; empty ones do not count.

    Returns:
        The operation's type; empty if there is none.
    """
    functions = {function.signature.name: function for function in graph.library.function}
    seen: set[str] = set()
    for kind, called in _needed(graph, [name for name in tensors if name]):
        if kind in _UNBOUNDED:
            return kind
        if found := _within(called, functions, seen):
            return found
    return ""


def _needed(graph: Any, tensors: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Type and called functions of each operation that a run for these tensors needs."""
    nodes = {node.name: node for node in graph.node}
    waiting = [_operation(name) for name in tensors]
    seen = set(waiting)
    while waiting:
        node = nodes.get(waiting.pop())
        if node is None:
            continue  # the run itself says so
        yield node.op, _called(node.attr)
        new = {_operation(name) for name in node.input} - seen
        waiting += new
        seen |= new


def _operation(tensor: str) -> str:
    """The operation that makes a tensor, such as `a` of `a:1`, or that must end before, such as `a` of `^a`."""
    return tensor.removeprefix("^").partition(":")[0]


def _within(names: Sequence[str], functions: dict[str, Any], seen: set[str]) -> str:
    """The same for the bodies of functions, and those that they call."""
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name].node_def:
            if node.op in _UNBOUNDED:
                return str(node.op)
            waiting += [node.op, *_called(node.attr)]
    return ""


def _called(attributes: Any) -> list[str]:
    called = []
    for value in attributes.values():
        if value.HasField("func"):
            called.append(value.func.name)
        called += [function.name for function in value.list.func]
    return called
