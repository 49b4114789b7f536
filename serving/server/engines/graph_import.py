"""Loads a SavedModel into a session without a Python object for each of its operations.

TensorFlow's public loader (`tf.compat.v1.saved_model.loader`) makes these objects, and hardly anything uses them. They
take half of the load time, and the garbage collector must free them after the unload. Meanwhile requests wait for the
interpreter. The steps are those of TensorFlow Serving's loader (tensorflow/cc/saved_model/loader.cc): import the graph,
restore the variables, initialize the tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benison.serving.server.engines import graph_parts, low_priority, op_libraries, private_tensorflow
from benison.serving.server.status import Code, RequestError

INIT_SIGNATURE = "__saved_model_init_op"  # part of the SavedModel format (tensorflow/cc/saved_model/constants.h)
_VARIABLES = frozenset(["VarHandleOp", "Variable", "VariableV2"])
_log = logging.getLogger(__name__)


def load(
    path: str, tags: Sequence[str], config: Any, check: Callable[[str, Any], object] | None = None
) -> tuple[Any, Any]:
    """Load a SavedModel into a new session, with its variables and tables.

    Args:
        path: the folder of the SavedModel.
        tags: the tags of the graph to load.
        config: the tf.compat.v1.ConfigProto of the session.
        check: takes the path and the tf.compat.v1.MetaGraphDef, and raises an error if it must not be loaded.

    Returns:
        The tf.compat.v1.Session, and the tf.compat.v1.MetaGraphDef.

    Raises:
        tf.errors.OpError, RuntimeError, ValueError, OSError: The SavedModel is broken or has no graph with these tags.
        RequestError: The files of its variables are missing, or this TensorFlow lacks an operation.
    """
    loader = private_tensorflow.saved_model_loader(path)  # reads the file once, so what runs is what was checked
    meta_graph = loader.get_meta_graph_def_from_tags(tags)
    if check:
        check(path, meta_graph)
    try:
        return _load(path, meta_graph, loader, config, _import)
    except RequestError:
        raise
    except Exception as error:
        # For example, a newer TensorFlow has written an unknown attribute. A broken model fails again, with
        # TensorFlow's usual message.
        _log.debug("%s: %s; trying TensorFlow's public loader", path, error)
        return _load(path, meta_graph, loader, config, _import_with_objects)


def _load(path: str, meta_graph: Any, loader: Any, config: Any, import_into: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    try:
        import_into(session, path, meta_graph, loader)
        return session, meta_graph
    except BaseException:
        session.close()
        raise


def _import_with_objects(session: Any, _path: str, meta_graph: Any, loader: Any) -> None:
    loader.load(session, list(meta_graph.meta_info_def.tags))


def _import(session: Any, path: str, meta_graph: Any, loader: Any) -> None:
    variables = loader.variables_path
    op_libraries.find_for(meta_graph.graph_def)
    graph_parts.import_graph(session.graph, meta_graph.graph_def)
    saver = meta_graph.saver_def
    if saver.restore_op_name:
        if Path(f"{variables}.index").exists():
            _run(session, saver.restore_op_name, {saver.filename_tensor_name: variables})
        elif any(node.op in _VARIABLES for node in meta_graph.graph_def.node):
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f"{variables}.index: no such file, but the graph has variables; copy the whole folder",
            )
    if operation := _initialization(meta_graph):
        _run(session, operation, private_tensorflow.asset_files(path, meta_graph))


def _initialization(meta_graph: Any) -> str:
    """Return the operation that fills the tables; empty if there is none. TensorFlow 2 names it in a signature."""
    import tensorflow as tf

    if INIT_SIGNATURE in meta_graph.signature_def:
        (output,) = meta_graph.signature_def[INIT_SIGNATURE].outputs.values()
        return str(output.name).partition(":")[0]
    constants = tf.compat.v1.saved_model.constants
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            (name,) = meta_graph.collection_def[key].node_list.value
            return str(name).partition(":")[0]
    return ""


def _run(session: Any, operation: str, feeds: Mapping[str, str | bytes]) -> None:
    import numpy as np
    from tensorflow.core.protobuf import config_pb2

    options = config_pb2.CallableOptions(feed=list(feeds), target=[operation])
    # In this thread: all sessions share the threads of TensorFlow, and a slow model would hold up the loads of others.
    options.run_options.inter_op_thread_pool = -1
    run = low_priority.call(private_tensorflow.make_callable, session, options)
    low_priority.call(run, *[np.array(text, object) for text in feeds.values()])
