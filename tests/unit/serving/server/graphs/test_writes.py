"""Operations with a lasting effect are found before a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from benison.serving.server.engines import private_tensorflow
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.writes import Writes

COUNTER = tf.Variable(0.0)
TABLE = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, 0.0)


def writes(function: Callable[[Any], Any]) -> str:
    graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.float32)).graph
    # The results of a signature run after everything that the function does in order.
    definition = graph.as_graph_def()
    for node in definition.node:
        if node.name == graph.outputs[0].op.name:
            node.input.extend(f"^{operation.name}" for operation in graph.control_outputs)
    outputs = [tensor.name for tensor in graph.outputs]
    return Writes(IndexedGraph.of(definition, private_tensorflow.operation_definition)).operation(outputs)


def _counted(x: Any) -> Any:
    return x + COUNTER.assign_add(1.0)


def _printed(x: Any) -> Any:
    tf.print(x)
    return tf.identity(x)


def _remembered(x: Any) -> Any:
    TABLE.insert(tf.strings.as_string(x), x)
    return tf.identity(x)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (_counted, "AssignAddVariableOp"),
        (tf.function(_counted), "AssignAddVariableOp"),
        (lambda x: tf.cond(x[0] > 0, lambda: _counted(x), lambda: x), "AssignAddVariableOp"),
        (_printed, "PrintV2"),
        (_remembered, "LookupTableInsertV2"),
        (lambda x: tf.numpy_function(lambda y: y, [x], tf.float32), "PyFunc"),
        (lambda x: x + tf.random.uniform([]), "RandomUniform"),
    ],
)
def test_an_operation_with_a_lasting_effect_is_named(function: Any, operation: str) -> None:
    assert operation in writes(function)


def test_reading_a_variable_or_a_table_writes_nothing() -> None:
    def read(x: Any) -> Any:
        tf.debugging.assert_positive(x)
        return x * COUNTER + TABLE.lookup(tf.strings.as_string(x))

    assert not writes(read)
    assert not writes(lambda x: tf.function(read)(x))
