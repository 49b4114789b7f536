"""Compares what a graph says about rows with runs of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.serving.server.engines import private_tensorflow
from benison.serving.server.graphs.alignment import Alignment
from benison.serving.server.graphs.indexed import IndexedGraph
from tests import drawn_graphs

BATCH = [tf.TensorSpec([None, 4], tf.float32)]
NOT_RECOGNISED = {"vectorized map"}


def blocker(function: Any, specs: Sequence[Any] = BATCH) -> str:
    """Return why requests must not share a run of a function; empty if they may."""
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    inputs = {tensor.name: [-1 if s is None else s for s in tensor.shape[1:]] for tensor in graph.inputs}
    outputs = {str(number): tensor.name for number, tensor in enumerate(graph.outputs)}
    return Alignment(IndexedGraph.of(graph.as_graph_def(), private_tensorflow.operation_definition)).blocker(
        inputs, outputs
    )


def assert_rows_are_independent(function: Any, generator: np.random.Generator, rows: int = 7) -> None:
    """Compare a row with itself among other rows, bit for bit, and alone."""
    run = tf.function(function, autograph=False).get_concrete_function(*BATCH)
    x = (generator.normal(size=(rows, drawn_graphs.WIDTH)) * 3).astype(np.float32)
    answers = run(tf.constant(x)).numpy()
    for row in (0, rows // 2, rows - 1):
        others = (generator.normal(size=x.shape) * 30).astype(np.float32)
        others[row] = x[row]
        np.testing.assert_array_equal(run(tf.constant(others)).numpy()[row], answers[row])
        np.testing.assert_allclose(run(tf.constant(x[row : row + 1])).numpy()[0], answers[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", drawn_graphs.ROW_WISE)
def test_an_operation_within_rows_is_recognised(name: str) -> None:
    function = drawn_graphs.ROW_WISE[name]
    assert bool(blocker(lambda x: tf.ensure_shape(function(x), [None, 4]))) == (name in NOT_RECOGNISED)
    assert_rows_are_independent(function, np.random.default_rng(0))


@pytest.mark.parametrize("name", drawn_graphs.MIXING)
def test_an_operation_that_mixes_rows_is_named(name: str) -> None:
    assert blocker(drawn_graphs.MIXING[name])


def test_a_chain_of_functions_that_each_call_the_next_twice_is_not_followed_for_ever() -> None:
    def twice(inner: Any) -> Any:
        return tf.function(lambda x: inner(inner(x)), autograph=False)

    chain = tf.function(lambda x: tf.where(x > 0.0, x, -x), autograph=False)
    assert not blocker(chain)
    for _ in range(15):
        chain = twice(chain)
    assert blocker(chain) == "its graph is too large to follow every operation"


def _assert_drawn(count: int, seed: int) -> None:
    generator, numbers = random.Random(seed), np.random.default_rng(seed)
    recognised, row_wise = 0, 0
    for _ in range(count):
        mixes = generator.random() < 0.4
        names, function = drawn_graphs.draw(generator, mixes)
        is_recognised = not blocker(function)
        assert not (mixes and is_recognised), names
        row_wise += not mixes
        recognised += is_recognised
        if is_recognised:
            assert_rows_are_independent(function, numbers)
    assert recognised >= 0.8 * row_wise


def test_drawn_graphs_are_recognised_if_and_only_if_rows_are_independent() -> None:
    _assert_drawn(20, seed=5)


@pytest.mark.soak
def test_many_drawn_graphs_are_recognised_if_and_only_if_rows_are_independent() -> None:
    _assert_drawn(200, seed=18)
