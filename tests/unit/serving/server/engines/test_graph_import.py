"""A SavedModel is loaded into a session with the same result as by TensorFlow's public loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, saved_model_pb2

from benison.serving.server.engines import graph_import, private_tensorflow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that returns the line number of a word in a file, times a variable."""
    folder = tmp_path_factory.mktemp("words")
    words = folder / "words.txt"
    words.write_text("wren\nowl\nrook\n")

    class Model(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            file = tf.lookup.TextFileInitializer(
                str(words), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            self.table = tf.lookup.StaticHashTable(file, -1)
            self.factor = tf.Variable(10.0)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="word")])
        def run(self, word: Any) -> dict[str, Any]:
            return {"y": tf.cast(self.table.lookup(word), tf.float32) * self.factor}

    module = Model()
    tf.saved_model.save(module, str(folder / "model"), signatures=module.run)
    words.unlink()  # the SavedModel has a copy
    return folder / "model"


def answer(session: Any, meta_graph: Any) -> list[float]:
    signature = meta_graph.signature_def["serving_default"]
    words = {signature.inputs["word"].name: np.array([b"owl", b"rook", b"eel"], object)}
    options = config_pb2.CallableOptions(feed=list(words), fetch=[signature.outputs["y"].name])
    return list(private_tensorflow.make_callable(session, options)(*words.values())[0])


def test_variables_and_tables_are_loaded_without_an_object_for_an_operation(model: Path) -> None:
    session, meta_graph = graph_import.load(str(model), ["serve"], None)
    with session:
        assert answer(session, meta_graph) == [10.0, 20.0, -10.0]
        assert session.graph.get_operations() == []


def test_default_attributes_of_a_newer_tensorflow_are_dropped(model: Path, tmp_path: Path) -> None:
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    node = next(node for node in graph.graph_def.node if node.op == "Placeholder")
    node.attr["shiny"].b = False
    operation = graph.meta_info_def.stripped_op_list.op
    definition = next((op for op in operation if op.name == "Placeholder"), None) or operation.add(name="Placeholder")
    attribute = definition.attr.add(name="shiny", type="bool")
    attribute.default_value.b = False
    newer = tmp_path / "newer"
    newer.mkdir()
    for part in ("variables", "assets"):
        (newer / part).symlink_to(model / part)
    (newer / "saved_model.pb").write_bytes(saved.SerializeToString())
    session, meta_graph = graph_import.load(str(newer), ["serve"], None)
    with session:
        assert answer(session, meta_graph) == [10.0, 20.0, -10.0]


def test_a_broken_model_fails_with_tensorflows_message(model: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="MetaGraphDef associated with tags 'gpu' could not be found"):
        graph_import.load(str(model), ["gpu"], None)
    (tmp_path / "saved_model.pb").write_bytes(b"no")
    with pytest.raises(OSError, match="Cannot parse file"):
        graph_import.load(str(tmp_path), ["serve"], None)
