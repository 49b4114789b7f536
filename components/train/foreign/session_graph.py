"""A SavedModel of TensorFlow 1 as a function that TensorFlow 2 can write again.

Such a model is one graph that a session runs. Its variables and tables belong to the session. Here each of them becomes
an object with the same content, and the part of the graph between the signature's inputs and the output reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benison.serving.errors import UsageError

_VARIABLES = frozenset({"Variable", "VariableV2"})  # whose output is the value
_TABLES = frozenset({"HashTableV2"})


def function(
    path: str, signature: Any, output: str, tags: Sequence[str] = ("serve",)
) -> tuple[Callable[[Mapping[str, Any]], Any], list[Any]]:
    """Return the function of one output of a signature, and the objects that it reads.

    Args:
        path: the folder of the SavedModel.
        signature: the SignatureDef.
        output: name of the output.
        tags: tags of the graph.

    Raises:
        UsageError: the output needs something that is neither a variable nor a table.
    """
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        tf.compat.v1.saved_model.load(session, list(tags), path)
        target = signature.outputs[output].name
        inputs = {name: info.name for name, info in signature.inputs.items()}
        part = tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), [_operation(target)])
        fed = {_operation(tensor) for tensor in inputs.values()}
        held = {node.name: node for node in part.node if node.name not in fed and _is_held(graph, node)}
        contents = {name: _content(session, graph, node) for name, node in held.items()}
        shape = graph.get_tensor_by_name(target).shape
    kept = type(part)(versions=part.versions, library=part.library)
    kept.node.extend(node for node in part.node if node.name not in held)
    for node in kept.node:
        inputs_kept = [text for text in node.input if text.lstrip("^") not in held or not text.startswith("^")]
        del node.input[:]
        node.input.extend(inputs_kept)
        node.attr.pop("_class", None)  # the places of variables, which are not in this part
    objects = {name: _object(node, contents[name]) for name, node in held.items()}

    def call(tensors: Mapping[str, Any]) -> Any:
        outer = tf.compat.v1.get_default_graph()
        values = {inputs[name]: tensor for name, tensor in tensors.items()}
        for name, holder in objects.items():
            values[f"{name}:0"] = outer.capture(_handle(held[name], holder))
        (result,) = tf.graph_util.import_graph_def(
            kept, input_map=_read(kept, values), return_elements=[target], name="foreign"
        )
        result.set_shape(shape)
        return result

    return tf.function(call, autograph=False), list(objects.values())


def _is_held(graph: Any, node: Any) -> bool:
    """Return True for a node whose content belongs to the session."""
    types = {tensor.dtype.name for tensor in graph.get_operation_by_name(node.name).outputs}
    # TensorFlow's first tables are references to text.
    return node.op in _VARIABLES or (node.op != "Placeholder" and bool(types & {"resource", "string_ref"}))


def _content(session: Any, graph: Any, node: Any) -> Any:
    """Return the value of a variable, or the keys and values of a table."""
    import tensorflow as tf

    handle = graph.get_tensor_by_name(f"{node.name}:0")
    if node.op in _VARIABLES:
        return session.run(handle)
    if node.op == "VarHandleOp":
        return session.run(tf.raw_ops.ReadVariableOp(resource=handle, dtype=node.attr["dtype"].type))
    if node.op in _TABLES:
        types = {"Tkeys": node.attr["key_dtype"].type, "Tvalues": node.attr["value_dtype"].type}
        return session.run(tf.raw_ops.LookupTableExportV2(table_handle=handle, **types))
    raise UsageError(
        f"its operation {node.op} ({node.name}) holds something that is neither a variable nor a table, which cannot "
        "become part of another model; export the model by TensorFlow 2"
    )


def _object(node: Any, content: Any) -> Any:
    import tensorflow as tf

    if node.op not in _TABLES:
        return tf.Variable(content, trainable=False)
    keys, values = content
    # The default value is an input of each look-up, so that the table's own one is never used.
    default = b"" if values.dtype == object else values.dtype.type(0)
    types = (tf.as_dtype(node.attr["key_dtype"].type), tf.as_dtype(node.attr["value_dtype"].type))
    pairs = tf.lookup.KeyValueTensorInitializer(
        tf.constant(keys, types[0]), tf.constant(values, types[1]), types[0], types[1]
    )
    return tf.lookup.StaticHashTable(pairs, default)


def _handle(node: Any, holder: Any) -> Any:
    """Return what stands in the graph for a variable or a table."""
    if node.op in _VARIABLES:
        return holder.read_value()
    return holder.resource_handle if node.op in _TABLES else holder.handle


def _read(graph: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a graph reads: TensorFlow refuses others."""
    read = {text if ":" in text else f"{text}:0" for node in graph.node for text in node.input}
    own = {f"{node.name}:0" for node in graph.node}
    return {name: value for name, value in values.items() if name in read or name in own}


def _operation(tensor: str) -> str:
    return tensor.partition(":")[0]
