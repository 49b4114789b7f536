"""Loads libraries of operations that TensorFlow itself does not have."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benison.serving.errors import UsageError
from benison.serving.server.engines import private_tensorflow
from benison.serving.server.status import OP_LIBRARIES_HINT, CannotRun

_TEXT = "tensorflow_text"  # the package of TensorFlow Text; its libraries are in python/ops
_log = logging.getLogger(__name__)


def load(paths: Sequence[str]) -> None:
    """Load libraries that the user names.

    Args:
        paths: files, such as `/usr/lib/my_ops.so`.

    Raises:
        UsageError: TensorFlow cannot load one of them.
    """
    import tensorflow as tf

    for path in paths:
        try:
            tf.load_op_library(path)
        except (tf.errors.OpError, OSError) as error:
            raise UsageError(f"BENISON_OP_LIBRARIES={path}: {getattr(error, 'message', error)}") from None


def find_for(graph: Any) -> None:
    """Load TensorFlow Text if a graph has an operation that is unknown without it, and it is installed.

    Args:
        graph: a tf.compat.v1.GraphDef.

    Raises:
        CannotRun: An operation outside of the functions is unknown, so that the graph cannot be imported.
    """
    functions = {function.signature.name for function in graph.library.function}
    nodes = (node for function in graph.library.function for node in function.node_def)
    if _unknown(graph.node, functions) or _unknown(nodes, functions):
        _load_text()
        if operation := _unknown(graph.node, functions):
            raise CannotRun(f"Op type not registered '{operation}' {OP_LIBRARIES_HINT}")


def _unknown(nodes: Iterable[Any], functions: set[str]) -> str:
    """Return a type of operation that this TensorFlow does not know; empty if it knows all."""
    types = {node.op for node in nodes} - functions
    return next((name for name in sorted(types) if private_tensorflow.operation_definition(name) is None), "")


@cache
def _load_text() -> None:
    """Load the libraries of TensorFlow Text, without its Python modules, which import all of TensorFlow."""
    import tensorflow as tf

    spec = importlib.util.find_spec(_TEXT)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder, "python", "ops").glob("*.so")):
            try:
                tf.load_op_library(str(path))
            except (tf.errors.OpError, OSError) as error:
                _log.warning("%s: %s", path, getattr(error, "message", error))
