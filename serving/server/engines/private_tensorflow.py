"""The private calls of TensorFlow that the model server makes; no other module of the server makes any.

A public call would hold the interpreter lock while a graph is imported, make a Python object for each operation, or add
the bookkeeping of `Session.run` to each request. All of these functions were tried with TensorFlow 2.16 and 2.21. The
tests call each of them, and fail if a new TensorFlow changes one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

CONTROL = -1  # the output index of a control edge, which carries no tensor
Edge = tuple[str, int]  # the name of an operation and the index of its output


def saved_model_loader(path: str) -> Any:
    """Read the file of a SavedModel, and return TensorFlow's loader of it.

    It stands in for `tf.compat.v1.saved_model.loader.load`, which reads the file and loads a graph in one call. The
    loader's method `load` does the second half.

    Args:
        path: the folder of the SavedModel.

    Returns:
        A SavedModelLoader: `get_meta_graph_def_from_tags(tags)` returns the tf.compat.v1.MetaGraphDef or raises a
        RuntimeError, and `variables_path` is the path prefix of the files with the variables.

    Raises:
        OSError: The file cannot be read.
    """
    from tensorflow.python.saved_model import loader_impl

    return loader_impl.SavedModelLoader(path)


def asset_files(path: str, meta_graph: Any) -> Mapping[str, bytes]:
    """Return the files of a SavedModel's assets by the name of the tensor that takes the file's path.

    It stands in for the part of `tf.compat.v1.saved_model.loader.load` that feeds these tensors.

    Args:
        path: the folder of the SavedModel.
        meta_graph: its tf.compat.v1.MetaGraphDef.
    """
    from tensorflow.python.saved_model import loader_impl

    files: Mapping[str, bytes] = loader_impl.get_asset_tensors(path, meta_graph)
    return files


def make_callable(session: Any, options: Any) -> Callable[..., Any]:
    """Return a function that runs a part of a session's graph: it takes the fed values and returns the fetched ones.

    It stands in for `tf.compat.v1.Session.make_callable`, which ends in `Session.run`: its bookkeeping costs more than
    a run of a small model. The public call also needs a Python object for each tensor.

    Args:
        session: a tf.compat.v1.Session.
        options: a CallableOptions proto.

    Raises:
        tf.errors.OpError: The options do not fit the graph.
    """
    function: Callable[..., Any] = session._make_callable_from_options(options)
    return function


def operation_definition(name: str) -> Any:
    """Return the OpDef of a type of operation; None if this TensorFlow does not know it.

    It stands in for nothing: TensorFlow has no public call that tells whether an operation is stateful.
    """
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name)


def registered_kernels(name: str) -> Sequence[Any]:
    """Return the KernelDefs of a type of operation, for all devices; none if this TensorFlow has no kernel for it.

    It stands in for nothing: TensorFlow has no public call that tells which operations it can run.
    """
    from tensorflow.python.framework import kernels

    return tuple(kernels.get_registered_kernels_for_op(name).kernel)


def lite_state(model: bytes) -> str:
    """Return an operation with a lasting effect, or of unknown code, in a TensorFlow Lite model; empty if it has none.

    It stands in for nothing: TensorFlow has no public call that tells which operations a model has.

    Args:
        model: the content of its file.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    builtin = schema.BuiltinOperator
    stateful = {
        getattr(builtin, name): name
        for name in ("ASSIGN_VARIABLE", "RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL", "MULTINOMIAL", "CUSTOM")
    }
    root = schema.Model.GetRootAsModel(model, 0)
    codes = [root.OperatorCodes(index) for index in range(root.OperatorCodesLength())]
    numbers = [max(code.BuiltinCode(), code.DeprecatedBuiltinCode()) for code in codes]
    graphs = [root.Subgraphs(index) for index in range(root.SubgraphsLength())]
    has_state = any(graph.Tensors(index).IsVariable() for graph in graphs for index in range(graph.TensorsLength()))
    return next((stateful[number] for number in numbers if number in stateful), "a state" if has_state else "")


def lite_flex_nodes(model: bytes) -> list[Any]:
    """Return the operations that a TensorFlow Lite model takes from TensorFlow, as tf.compat.v1.NodeDefs.

    It stands in for nothing: TensorFlow has no public call that tells which operations a model has. The name in the
    list of operations only says that TensorFlow runs it; the NodeDef in the options says what it runs. See
    `OpNode::InitializeNodeDef` in tensorflow/lite/delegates/flex/kernel.cc.

    Args:
        model: the content of its file.

    Raises:
        ValueError: The options of such an operation cannot be read.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    root = schema.Model.GetRootAsModel(model, 0)
    nodes = []
    for graph in (root.Subgraphs(index) for index in range(root.SubgraphsLength())):
        for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
            name = root.OperatorCodes(operator.OpcodeIndex()).CustomCode() or b""
            if name.startswith(b"Flex"):
                nodes.append(_flex_node(name, operator))
    return nodes


def _flex_node(name: bytes, operator: Any) -> Any:
    from flatbuffers import flexbuffers
    from tensorflow.core.framework import node_def_pb2

    try:
        if operator.CustomOptionsIsNone() or _has_large_options(operator):
            raise ValueError("no options beside the operation")
        options = flexbuffers.GetRoot(bytearray(operator.CustomOptionsAsNumpy()))
        if not options.IsVector or not all(part.IsString for part in options.AsVector):
            raise ValueError("no list of texts")
        operation, node = (bytes(part.AsStringBytes) for part in options.AsVector)
        definition = node_def_pb2.NodeDef.FromString(node)
        if definition.op.encode() != operation:
            raise ValueError("two operations")
    except Exception as error:  # the parsers raise many kinds of errors on broken bytes
        text = name.decode("utf-8", "replace")
        raise ValueError(f"the options of its operation {text} cannot be read: {error}") from None
    return definition


def _has_large_options(operator: Any) -> bool:
    """Return whether the options are elsewhere in the file; then those of the operation may be ignored."""
    return hasattr(operator, "LargeCustomOptionsOffset") and operator.LargeCustomOptionsOffset() > 0


def lite_metadata(model: bytes, name: bytes) -> bytes:
    """Return an entry of a TensorFlow Lite model's metadata; empty if it has none of this name.

    It stands in for nothing: TensorFlow has no public call that reads the metadata.

    Args:
        model: the content of its file.
        name: the name of the entry.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    root = schema.Model.GetRootAsModel(model, 0)
    for entry in (root.Metadata(index) for index in range(root.MetadataLength())):
        buffer = root.Buffers(entry.Buffer())
        if entry.Name() == name and not buffer.DataIsNone():
            return bytes(buffer.DataAsNumpy())
    return b""


def skip_shape_inference(node: Any) -> None:
    """Mark a function call so that an import does not infer the shapes of its outputs, which is slow.

    There is no public call for this: the attribute is one that TensorFlow sets itself.

    Args:
        node: the tf.compat.v1.NodeDef of a PartitionedCall or StatefulPartitionedCall.
    """
    node.attr["_disable_call_shape_inference"].b = True


def import_graph_def(
    graph: Any, graph_def: Any, inputs: Mapping[Edge, Any], returned: Collection[Edge]
) -> dict[Edge, Any]:
    """Add operations and functions to a graph without making a Python object for an operation.

    It stands in for `tf.import_graph_def`, which makes these objects and can replace a control edge only by such an
    object.

    Args:
        graph: a tf.Graph.
        graph_def: the tf.compat.v1.GraphDef to add.
        inputs: handles of operations and outputs in the graph, by the edges that `graph_def` reads but lacks.
        returned: the edges whose handles to return.

    Returns:
        The handles of the returned edges, which a later call can take as `inputs`.

    Raises:
        tf.errors.OpError, ValueError: TensorFlow cannot import the graph.
    """
    from tensorflow.python.client import pywrap_tf_session as c_api
    from tensorflow.python.framework import c_api_util

    scoped = c_api_util.ScopedTFImportGraphDefOptions()
    options = scoped.options
    # An operation may be colocated with an operation of an earlier import.
    c_api.TF_ImportGraphDefOptionsSetValidateColocationConstraints(options, False)
    for (name, index), handle in inputs.items():
        if index == CONTROL:
            c_api.TF_ImportGraphDefOptionsRemapControlDependency(options, name, handle)
        else:
            c_api.TF_ImportGraphDefOptionsAddInputMapping(options, name, index, handle)
    operations = [edge for edge in returned if edge[1] == CONTROL]
    outputs = [edge for edge in returned if edge[1] != CONTROL]
    for name, _ in operations:
        c_api.TF_ImportGraphDefOptionsAddReturnOperation(options, name)
    for name, index in outputs:
        c_api.TF_ImportGraphDefOptionsAddReturnOutput(options, name, index)
    buffer = c_api.TF_NewBufferFromString(graph_def.SerializeToString())
    try:
        with graph._c_graph.get() as c_graph:
            # The object frees the results when it is collected, so it needs a name.
            scoped_results = c_api_util.ScopedTFImportGraphDefResults(
                c_api.TF_GraphImportGraphDefWithResults(c_graph, buffer, options)
            )
    finally:
        c_api.TF_DeleteBuffer(buffer)
    results = scoped_results.results
    handles = dict(zip(operations, c_api.TF_ImportGraphDefResultsReturnOperations(results), strict=True))
    handles.update(zip(outputs, c_api.TF_ImportGraphDefResultsReturnOutputs(results), strict=True))
    return handles
