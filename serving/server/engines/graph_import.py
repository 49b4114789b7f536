"""Puts a SavedModel into a session without a Python object for each of its operations.

TensorFlow's own loader (`tf.compat.v1.saved_model.loader`) makes these, and then hardly anything uses them. They take
half of the time of a load, and have to be collected after the unload; meanwhile requests wait for the interpreter.
TensorFlow Serving's loader has none either (tensorflow/cc/saved_model/loader.cc): graph, restore, initialization.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benison.serving.server.engines import graph_parts, low_priority

_log = logging.getLogger(__name__)


def load(path: str, tags: Sequence[str], config: Any) -> tuple[Any, Any]:
    """A session with the graph, its variables and tables.

    Args:
        path: folder of the SavedModel.
        tags: of the graph in it.
        config: tf.compat.v1.ConfigProto of the session.

    Returns:
        The tf.compat.v1.Session, and the tf.compat.v1.MetaGraphDef.

    Raises:
        tf.errors.OpError, RuntimeError, ValueError, OSError: it is broken or has no graph with these tags.
    """
    try:
        return _load(path, tags, config, _import)
    except Exception as error:
        # Such as an attribute that a newer TensorFlow wrote; what is really broken fails here, too, in known words.
        _log.debug("%s: %s; TensorFlow's own loader tries", path, error)
        return _load(path, tags, config, _import_with_objects)


def _load(path: str, tags: Sequence[str], config: Any, put: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        return session, put(session, path, tags)
    except BaseException:
        session.close()
        raise


def _import_with_objects(session: Any, path: str, tags: Sequence[str]) -> Any:
    import tensorflow as tf

    with session.graph.as_default():
        return tf.compat.v1.saved_model.loader.load(session, list(tags), path)


def _import(session: Any, path: str, tags: Sequence[str]) -> Any:
    from tensorflow.python.saved_model import loader_impl

    loader = loader_impl.SavedModelLoader(path)
    meta_graph = loader.get_meta_graph_def_from_tags(tags)
    graph_parts.put(session.graph, meta_graph.graph_def)
    variables = loader.variables_path
    saver = meta_graph.saver_def
    if saver.restore_op_name and Path(f"{variables}.index").exists():
        _run(session, saver.restore_op_name, {saver.filename_tensor_name: variables})
    if operation := _initialization(meta_graph):
        _run(session, operation, loader_impl.get_asset_tensors(path, meta_graph))
    return meta_graph


def _initialization(meta_graph: Any) -> str:
    """The operation that fills the tables; empty if there is none. TensorFlow 2 names it by a signature."""
    from tensorflow.python.saved_model import constants

    if constants.INIT_OP_SIGNATURE_KEY in meta_graph.signature_def:
        (output,) = meta_graph.signature_def[constants.INIT_OP_SIGNATURE_KEY].outputs.values()
        return str(output.name).partition(":")[0]
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            (name,) = meta_graph.collection_def[key].node_list.value
            return str(name).partition(":")[0]
    return ""


def _run(session: Any, operation: str, texts: Mapping[str, str | bytes]) -> None:
    import numpy as np
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions(feed=list(texts), target=[operation])
    run = low_priority.call(session._make_callable_from_options, options)
    low_priority.call(run, *[np.array(text, object) for text in texts.values()])
