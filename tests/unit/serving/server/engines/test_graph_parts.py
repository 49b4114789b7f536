"""A graph that is imported in parts equals the graph that is imported at once."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from benison.serving.server.engines import graph_parts

v1 = tf.compat.v1


def chain() -> None:
    """Add variables with nested names, control edges and an operation with two outputs."""
    x = v1.placeholder(tf.float32, [None, 2], "x")
    for number in range(5):
        scale = v1.get_variable(f"scale{number}", [2], use_resource=True)
        first, second = tf.split(x * scale, 2, axis=1)
        with tf.control_dependencies([v1.debugging.assert_non_negative(x)]):
            x = tf.concat([second, first], 1)
    v1.train.Saver()


def loop() -> None:
    v1.disable_control_flow_v2()
    try:
        v1.while_loop(lambda i, _: i < 10, lambda i, x: (i + 1, x * 2.0), (tf.constant(0), tf.constant(1.0)))
    finally:
        v1.enable_control_flow_v2()
    tf.add(1, 2)


def calls() -> None:
    @tf.function
    def inner(x: Any) -> Any:
        return x + 1.0

    @tf.function
    def outer(x: Any) -> Any:
        return inner(x) * 2.0

    for number in range(5):
        outer(v1.placeholder(tf.float32, [None], f"x{number}"))


def unsorted() -> None:
    """Add operations; `graph_of` reverses their order."""
    tf.add(tf.add(1, 2), 3)


def graph_of(add_operations: Any) -> Any:
    with tf.Graph().as_default() as graph:
        add_operations()
    graph_def = graph.as_graph_def()
    if add_operations is unsorted:
        reversed_nodes = list(graph_def.node)[::-1]
        del graph_def.node[:]
        graph_def.node.extend(reversed_nodes)
    return graph_def


def comparable(graph: Any) -> tuple[Any, Any]:
    """Return operations and functions by name, without the mark of function calls."""
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        node.attr.pop("_disable_call_shape_inference", None)
    by_name = {node.name: node for node in graph_def.node}
    return by_name, {function.signature.name: function for function in graph_def.library.function}


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("add_operations", [chain, loop, calls, unsorted])
def test_the_imported_graph_equals_tensorflows_import(
    add_operations: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_parts, "_PART_SIZE", size)
    graph_def = graph_of(add_operations)
    expected, imported = tf.Graph(), tf.Graph()
    with expected.as_default():
        tf.import_graph_def(graph_def, name="")
    graph_parts.import_graph(imported, graph_def)
    assert comparable(imported) == comparable(expected)
    assert imported.get_operations() == []


def test_parts_are_small_and_none_reads_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_parts, "_PART_SIZE", 4)
    nodes = graph_of(chain).node
    parts = graph_parts.split(nodes)
    assert [node.name for part in parts for node in part.nodes] == [node.name for node in nodes]
    assert len(parts) > 5
    seen: set[str] = set()
    for part in parts:
        assert {name for name, _ in part.reads} <= seen
        seen |= {node.name for node in part.nodes}


def test_a_missing_operation_is_named() -> None:
    node = v1.NodeDef(name="a", op="Identity", input=["gone"])
    with pytest.raises(KeyError, match="gone"):
        graph_parts.import_graph(tf.Graph(), v1.GraphDef(node=[node]))
