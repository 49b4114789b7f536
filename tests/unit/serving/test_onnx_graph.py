"""Graphs become ONNX with the same meaning, also for what tf2onnx alone converts wrongly; the rest is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tf2onnx")


def converted(folder: Path, function: Callable[[Any], Any], spec: Any, table: Any = None) -> Callable[[Any], Any]:
    """Return a function of an input by ONNX Runtime."""
    import onnxruntime
    import tensorflow as tf
    from tf2onnx import tf_loader

    from benison.serving.exports import onnx_graph

    module = tf.Module()
    module.table = table
    module.run = tf.function(lambda x: {"y": function(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {"serving_default": module.run})
    graph, inputs, outputs, tables = tf_loader.from_saved_model(
        str(folder), None, None, "serve", ["serving_default"], return_initialized_tables=True
    )
    model = onnx_graph.convert(onnx_graph.rewrite(graph, tables, outputs), inputs, outputs, tables)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda values: session.run(None, {session.get_inputs()[0].name: values})[0]


@pytest.mark.filterwarnings("ignore")
def test_an_index_out_of_range_is_no_category(tmp_path: Path) -> None:
    import tensorflow as tf

    ids = np.array([0, 2, -1, 3, -5], np.int64)
    one_hot = converted(tmp_path, lambda x: tf.one_hot(x, 3), tf.TensorSpec([None], tf.int64, name="x"))
    np.testing.assert_array_equal(one_hot(ids), tf.one_hot(ids, 3))


@pytest.mark.filterwarnings("ignore")
def test_a_negative_index_is_refused_as_in_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    table = tf.constant([[1.0], [2.0], [3.0]])
    row = converted(tmp_path, lambda x: tf.gather(table, x), tf.TensorSpec([None], tf.int64, name="x"))
    np.testing.assert_array_equal(row(np.array([2, 0], np.int64)), [[3.0], [1.0]])
    for index in (-1, 3):
        with pytest.raises(Exception, match="out of"):
            row(np.array([index], np.int64))
    cell = converted(
        tmp_path, lambda x: tf.gather_nd(table, tf.stack([x, x * 0], axis=1)), tf.TensorSpec([None], tf.int64, name="x")
    )
    assert cell(np.array([2, 0], np.int64)).tolist() == [3.0, 1.0]
    with pytest.raises(Exception, match=r"(?i)invalid ind|out of"):
        cell(np.array([-1], np.int64))


@pytest.mark.filterwarnings("ignore")
def test_log1p_is_as_precise(tmp_path: Path) -> None:
    import tensorflow as tf

    values = np.array([0, 1e-20, -1e-12, 1e-7, -0.5, 3, 1e300, np.inf, np.nan, -1, -2])
    log1p = converted(tmp_path, tf.math.log1p, tf.TensorSpec([None], tf.float64, name="x"))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(log1p(values), np.log1p(values), rtol=1e-14)


@pytest.mark.filterwarnings("ignore")
def test_text_is_compared_and_looked_up(tmp_path: Path) -> None:
    import tensorflow as tf

    keys, ids = tf.constant(["a", "b"]), tf.constant([5, 7], tf.int64)
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), -1)
    words = ["a", "", "ü", "b"]
    found = converted(
        tmp_path,
        lambda x: tf.where(tf.equal(x, ""), tf.constant(0, tf.int64), table.lookup(x)),
        tf.TensorSpec([None], tf.string, name="x"),
        table,
    )
    assert found(np.array(words, object)).tolist() == [5, 0, -1, 7]


@pytest.mark.filterwarnings("ignore")
def test_another_operation_is_refused_by_name(tmp_path: Path) -> None:
    import tensorflow as tf

    from benison.serving.exports.proof import NotExportable

    with pytest.raises(NotExportable, match="the model has Lgamma, TopKV2, which ONNX lacks or computes differently"):
        converted(
            tmp_path,
            lambda x: tf.math.lgamma(tf.math.top_k(x, 2).values),
            tf.TensorSpec([None, 4], tf.float32, name="x"),
        )
