"""A graph that is put together from parts is the one that it was cut from."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from benison.serving.server.engines import graph_parts

v1 = tf.compat.v1


def chain() -> None:
    """Variables whose parts have names beneath theirs, control edges and an operation with two outputs."""
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
    """See `graph_of`."""
    tf.add(tf.add(1, 2), 3)


def graph_of(make: Any) -> Any:
    with tf.Graph().as_default() as graph:
        make()
    graph_def = graph.as_graph_def()
    if make is unsorted:
        reversed_nodes = list(graph_def.node)[::-1]
        del graph_def.node[:]
        graph_def.node.extend(reversed_nodes)
    return graph_def


def comparable(graph: Any) -> tuple[Any, Any]:
    """Operations and functions by name, without the mark that calls get."""
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        node.attr.pop("_disable_call_shape_inference", None)
    by_name = {node.name: node for node in graph_def.node}
    return by_name, {function.signature.name: function for function in graph_def.library.function}


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("make", [chain, loop, calls, unsorted])
def test_it_is_the_graph_that_comes_in_one_piece(make: Any, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_parts, "_NODES", size)
    graph_def = graph_of(make)
    whole, put = tf.Graph(), tf.Graph()
    with whole.as_default():
        tf.import_graph_def(graph_def, name="")
    graph_parts.put(put, graph_def)
    assert comparable(put) == comparable(whole)
    assert put.get_operations() == []


def test_there_are_many_small_parts_and_none_reads_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_parts, "_NODES", 4)
    nodes = graph_of(chain).node
    parts = graph_parts.parts(nodes)
    assert [node.name for part in parts for node in part.nodes] == [node.name for node in nodes]
    assert len(parts) > 5
    seen: set[str] = set()
    for part in parts:
        assert {name for name, _ in part.reads} <= seen
        seen |= {node.name for node in part.nodes}


def test_an_operation_that_is_not_there_is_named() -> None:
    node = v1.NodeDef(name="a", op="Identity", input=["gone"])
    with pytest.raises(KeyError, match="gone"):
        graph_parts.put(tf.Graph(), v1.GraphDef(node=[node]))
