"""Refuses models that reach outside: a SavedModel is code, and one from elsewhere must not use this server's rights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines import private_tensorflow
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.outside import Outside, kind_of
from benison.serving.server.status import Code, RequestError
from benison.serving.versions import pushes

_ASSETS, _INIT_SIGNATURE = "assets", "__saved_model_init_op"  # parts of the SavedModel format
_HINT = (
    "BENISON_REFUSE_OPS=0 loads such models; it lets them run code with the rights of this server. By default, only "
    "versions that Benison did not push here are refused"
)


def are_checked(path: str, options: LoadOptions) -> bool:
    """Return True if the operations of a version must be checked.

    Args:
        path: the version's folder.
        options: what is refused, and which folder's pushes are trusted. Their files were compared with the record.
    """
    if options.refuse_operations != "foreign":
        return options.refuse_operations == "all"
    folder = Path(path)
    is_here = options.trusted_folder and os.path.realpath(folder.parent.parent) == options.trusted_folder
    return not (is_here and folder.name.isdecimal() and pushes.manifests(folder.parent, int(folder.name)))


def check(path: str, meta_graph: Any) -> None:
    """Check the operations that loading a SavedModel or a request can run.

    Args:
        path: the folder of the SavedModel.
        meta_graph: its tf.compat.v1.MetaGraphDef.

    Raises:
        RequestError: PERMISSION_DENIED; the message names the operation and what it reaches.
    """
    assets = private_tensorflow.asset_files(path, meta_graph)
    folder = os.path.normpath(os.path.join(path, _ASSETS))
    for file in map(os.fsdecode, assets.values()):
        if not os.path.normpath(file).startswith(folder + os.sep):
            raise _refusal(path, f"its asset {os.path.relpath(file, folder)} is not in its folder {_ASSETS}")
    graph = IndexedGraph.of(meta_graph.graph_def, private_tensorflow.operation_definition)
    outside = Outside(graph)
    for run, outputs, own_files in _runs(meta_graph, graph, {_operation(name) for name in assets}):
        if operation := outside.operation(outputs, own_files):
            raise _refusal(path, f"{run} uses {operation}")


def check_lite(path: str, types: list[str]) -> None:
    """Check the types of operations that a TensorFlow Lite model takes from TensorFlow.

    Raises:
        RequestError: PERMISSION_DENIED; the message names the operation and what it reaches.
    """
    for name in types:
        if reach := kind_of(name):
            raise _refusal(path, f"it uses {name} ({reach})")


def _refusal(path: str, reason: str) -> RequestError:
    return RequestError(Code.PERMISSION_DENIED, f"{path}: refused, because {reason}; {_HINT}")


def _runs(meta_graph: Any, graph: IndexedGraph, assets: set[str]) -> Iterator[tuple[str, list[str], set[str]]]:
    """Yield every run of the graph: what it is for, its outputs, and the operations that get names of own files."""
    saver = meta_graph.saver_def
    yield "the restoration of its variables", [saver.restore_op_name], {_operation(saver.filename_tensor_name)}
    initializers = list(_initializers(meta_graph))
    yield "its initialization", initializers, assets
    for name, signature in sorted(meta_graph.signature_def.items()):
        # A request runs a signature without the names of assets. It cannot run the usual initialization: NoOp has no
        # output.
        tensors = [tensor for tensor in _tensors(signature) if tensor]
        types = {graph.nodes[_operation(tensor)].op for tensor in tensors if _operation(tensor) in graph.nodes}
        if not (name == _INIT_SIGNATURE and types <= {"NoOp"}):
            yield f"its signature {name}", tensors, set()


def _initializers(meta_graph: Any) -> Iterator[str]:
    """Yield every operation that TensorFlow's loader or this server may take for the initialization."""
    import tensorflow as tf

    if _INIT_SIGNATURE in meta_graph.signature_def:
        yield from _tensors(meta_graph.signature_def[_INIT_SIGNATURE])
    constants = tf.compat.v1.saved_model.constants
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            yield from meta_graph.collection_def[key].node_list.value


def _tensors(signature: Any) -> Iterator[str]:
    """Yield the tensors of a signature's outputs; a composite one has several."""
    for info in signature.outputs.values():
        sparse = info.coo_sparse
        yield from (info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
        yield from (part.name for part in info.composite_tensor.components)


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]
