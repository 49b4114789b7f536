"""Refuses models that reach outside: a SavedModel is code, and one from elsewhere must not use this server's rights."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benison.serving.server.engine import DEFAULT_SIGNATURE, LoadOptions
from benison.serving.server.engines import private_tensorflow
from benison.serving.server.engines.graph_import import INIT_SIGNATURE
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.outside import Outside, reach_of
from benison.serving.server.graphs.own_files import kept_in_variables
from benison.serving.server.status import Code, RequestError
from benison.serving.versions import pushes

_ASSETS = "assets"  # part of the SavedModel format
_HINT = (
    "BENISON_REFUSE_OPS=0 loads such models; it lets them run code with the rights of this server. By default, "
    "`benison serve` loads those that were pushed into its ROOT"
)
_log = logging.getLogger(__name__)


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


def check(path: str, meta_graph: Any) -> dict[str, str]:
    """Check the operations that loading a SavedModel or a request can run.

    Args:
        path: the folder of the SavedModel.
        meta_graph: its tf.compat.v1.MetaGraphDef.

    Returns:
        By signature that must not run, the message for requests; each is logged. The other signatures can run.

    Raises:
        RequestError: PERMISSION_DENIED if the load, the default signature or all signatures use refused operations;
            the message names the operation and what it reaches.
    """
    assets = private_tensorflow.asset_files(path, meta_graph)
    folder = os.path.normpath(os.path.join(path, _ASSETS))
    for file in map(os.fsdecode, assets.values()):
        if not os.path.normpath(file).startswith(folder + os.sep):
            raise _refusal(path, f"its asset {os.path.relpath(file, folder)} is not in its folder {_ASSETS}")
    graph = IndexedGraph.of(meta_graph.graph_def, private_tensorflow.operation_definition)
    outside, saver = Outside(graph), meta_graph.saver_def
    signatures = dict(_signatures(meta_graph, graph))
    requests = [tensor for signature in signatures.values() for tensor in _tensors(signature.outputs)]
    kept = kept_in_variables(graph, assets.keys(), [saver.restore_op_name, *requests])
    for run, outputs, own_files in (
        ("the restoration of its variables", [saver.restore_op_name], {saver.filename_tensor_name}),
        ("its initialization", _initializers(meta_graph), {*assets, *kept}),
    ):
        if operation := outside.operation(outputs, own_files):
            raise _refusal(path, f"{run} uses {operation}")
    refused: dict[str, str] = {}
    for name, signature in signatures.items():
        # A request feeds the signature's inputs, and no names of assets.
        if operation := outside.operation(_tensors(signature.outputs), kept, _tensors(signature.inputs)):
            refused[name] = operation
    if refused and (DEFAULT_SIGNATURE in refused or refused.keys() == signatures.keys()):
        name = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in refused else next(iter(refused))
        raise _refusal(path, f"its signature {name} uses {refused[name]}")
    for name, operation in refused.items():
        _log.warning("%s: loaded without its signature %s, which uses %s; %s", path, name, operation, _HINT)
    return {
        name: f"Signature {name} is refused, because it uses {operation}; {_HINT}"
        for name, operation in refused.items()
    }


def check_lite(path: str, model: bytes) -> None:
    """Check the operations that a TensorFlow Lite model takes from TensorFlow.

    Args:
        path: the folder of the model, for messages.
        model: the content of its file.

    Raises:
        RequestError: PERMISSION_DENIED; the message names the operation and what it reaches.
    """
    try:
        nodes = private_tensorflow.lite_flex_nodes(model)
    except ValueError as error:
        raise _refusal(path, str(error)) from None
    for node in nodes:
        if reach := reach_of(node):
            raise _refusal(path, f"it uses {node.op} ({reach})")


def _refusal(path: str, reason: str) -> RequestError:
    return RequestError(Code.PERMISSION_DENIED, f"{path}: refused, because {reason}; {_HINT}")


def _signatures(meta_graph: Any, graph: IndexedGraph) -> Iterator[tuple[str, Any]]:
    """Yield the signatures that a request can run: not the usual initialization, because NoOp has no output."""
    for name, signature in sorted(meta_graph.signature_def.items()):
        operations = [graph.nodes.get(tensor.partition(":")[0]) for tensor in _tensors(signature.outputs)]
        if not (name == INIT_SIGNATURE and {node.op for node in operations if node is not None} <= {"NoOp"}):
            yield name, signature


def _initializers(meta_graph: Any) -> Iterator[str]:
    """Yield every operation that TensorFlow's loader or this server may take for the initialization."""
    import tensorflow as tf

    if INIT_SIGNATURE in meta_graph.signature_def:
        yield from _tensors(meta_graph.signature_def[INIT_SIGNATURE].outputs)
    constants = tf.compat.v1.saved_model.constants
    for key in (constants.MAIN_OP_KEY, constants.LEGACY_INIT_OP_KEY):
        if key in meta_graph.collection_def:
            yield from meta_graph.collection_def[key].node_list.value


def _tensors(infos: Mapping[str, Any]) -> list[str]:
    """Return the tensors of a signature's inputs or outputs; a composite one has several."""
    names: list[str] = []
    for info in infos.values():
        sparse = info.coo_sparse
        names += [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
        names += [part.name for part in info.composite_tensor.components]
    return [name for name in names if name]
