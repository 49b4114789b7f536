"""Operations that cannot run here are found without a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from benison.serving.server.engines import private_tensorflow
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.kernels import Kernels


def missing(function: Callable[[Any], Any], renamed: str = "", dtype: str = "") -> str:
    """Return what is missing for a function of x, some of whose operations get another name or type."""
    graph = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.float32)).graph
    outputs = [tensor.name for tensor in graph.outputs]
    definition = graph.as_graph_def()
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for node in nodes:
            if node.op == "Softsign":
                node.op = renamed or node.op
                node.attr["T"].type = getattr(tf, dtype).as_datatype_enum if dtype else node.attr["T"].type
    indexed = IndexedGraph.of(definition, private_tensorflow.operation_definition)
    return Kernels(indexed, private_tensorflow.registered_kernels, ["CPU"]).missing(outputs)


def _branches(x: Any) -> Any:
    return tf.cond(
        x[0] > 0, lambda: tf.nn.softsign(x), lambda: tf.while_loop(lambda y: y[0] < 9, lambda y: y + 1, [x])[0]
    )


@pytest.mark.parametrize("function", [tf.nn.softsign, tf.function(tf.nn.softsign), _branches])
def test_an_unknown_operation_is_found_also_in_functions(function: Callable[[Any], Any]) -> None:
    assert missing(function) == ""
    assert missing(function, renamed="Hardsign") == "Op type not registered 'Hardsign'"


def test_an_operation_without_a_kernel_for_its_types_or_device_is_found() -> None:
    assert "Softsign has no kernel for its types on CPU" in missing(tf.nn.softsign, dtype="string")
    assert "has no kernel for its types on CPU" in missing(tf.nn.softsign, renamed="CudnnRNN")


@pytest.mark.parametrize("call", [tf.py_function, tf.numpy_function, tf.compat.v1.py_func])
def test_an_operation_that_calls_python_is_found(call: Any) -> None:
    assert "calls Python code, which a SavedModel does not contain" in missing(
        lambda x: call(lambda value: value, [x], tf.float32)
    )
