"""Transform's graph as part of the graph of a signature: from raw columns to features, and nothing beside that.

`TFTransformOutput.transform_features_layer` would do, but it is a tf_keras model: an export then traces that model once
more, by AutoGraph, which takes longer than all signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from benison.components.raw_columns import entry_name

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft


class TransformGraph:
    """Transform's graph, with the variables and tables that it needs.

    Attributes:
        holder: the object that an exported model must track.
    """

    def __init__(self, transform: tft.TFTransformOutput) -> None:
        import tensorflow as tf
        from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

        self._loader = SavedModelLoader(transform.transform_savedmodel_dir)
        self.holder = tf.Module()
        self.holder.loaded = self._loader.__dict__  # as TFT's own layer does it

    def apply(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Return transformed features.

        Args:
            columns: raw columns as the schema has them: a SparseTensor if a cell may be missing.
        """
        return dict(self._loader.apply_transform_model(columns))

    def is_dense(self, column: str) -> bool:
        """Return True if `extend` also takes a column as a Tensor [batch, 1], whose cells may be missing."""
        return _has(self._loader._func_graph, entry_name(column))

    def extend(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Add to the graph that is being traced the operations between raw columns and features, and no others.

        A call of Transform's function would bring all of its operations: those of the label, and those that make a
        column sparse for a user's function that does not need it.

        Args:
            columns: raw columns as for `apply`; or as Tensors with the value that stands for a missing cell, if
                `is_dense` is true.

        Returns:
            The features that need no other column.
        """
        import tensorflow as tf

        graph = self._loader._func_graph
        function = self._loader._wrapped_function
        fed: dict[str, tf.Tensor] = {}
        for name, values in columns.items():
            column = self._loader._structured_inputs[name]
            if isinstance(column, tf.SparseTensor) and not isinstance(values, tf.SparseTensor):
                fed[f"{entry_name(name)}:0"] = values
            else:
                parts = zip(*(tf.nest.flatten(t, expand_composites=True) for t in (column, values)), strict=True)
                fed.update({part.name: value for part, value in parts})
        resources = zip(graph.internal_captures, function.captured_inputs, strict=True)
        captured = {inner.name: resource for inner, resource in resources}
        outputs = {
            name: tf.nest.flatten(feature, expand_composites=True)
            for name, feature in sorted(self._loader._structured_outputs.items())  # the order of `pack_sequence_as`
        }
        wanted = {tensor.name for tensors in outputs.values() for tensor in tensors}
        part, whole = _between(graph.as_graph_def(), fed.keys() | captured.keys(), wanted)
        features = {name: tensors for name, tensors in outputs.items() if all(t.name in whole for t in tensors)}
        read = {_tensor(text) for node in part.node for text in node.input}
        outer = tf.compat.v1.get_default_graph()
        inputs = {name: value for name, value in fed.items() if name in read}
        inputs |= {name: outer.capture(value) for name, value in captured.items() if name in read}
        fetched = [tensor for tensors in features.values() for tensor in tensors]
        results = tf.graph_util.import_graph_def(
            part, input_map=inputs, return_elements=[tensor.name for tensor in fetched], name="transform"
        )
        for result, tensor in zip(results, fetched, strict=True):
            result.set_shape(tensor.shape)
        structure = {name: self._loader._structured_outputs[name] for name in features}
        return dict(tf.nest.pack_sequence_as(structure, results, expand_composites=True))


def _between(graph: Any, fed: Iterable[str], outputs: Iterable[str]) -> tuple[Any, set[str]]:
    """Return the part of a graph between tensors, and the outputs that need no other input.

    An operation that only has to run before another one, such as an assertion, is in the part if it needs no other
    input. The rest of them, such as a look-up of the label, is left out.

    Args:
        graph: a tf.compat.v1.GraphDef, in which operations come after those that they read.
        fed: tensors that need not be computed.
        outputs: tensors to compute.
    """
    fed = frozenset(fed)
    nodes, blocked = {node.name: node for node in graph.node}, set()
    for node in graph.node:
        read = [_tensor(text) for text in node.input if not text.startswith("^")]
        waits = any(name not in fed and _operation(name) in blocked for name in read)
        if waits or (node.op == "Placeholder" and f"{node.name}:0" not in fed):
            blocked.add(node.name)
    whole = {name for name in outputs if _operation(name) not in blocked}
    kept: set[str] = set()
    pending = [_operation(name) for name in whole]
    while pending:
        name = pending.pop()
        if name not in kept:
            kept.add(name)
            pending += [_operation(text) for text in _inputs(nodes[name], nodes, fed, blocked) if text not in fed]
    part = type(graph)(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if node.name in kept)
    for node in part.node:
        inputs = _inputs(node, nodes, fed, blocked)
        del node.input[:]
        node.input.extend(inputs)
        node.attr.pop("_class", None)  # the places of variables, which are not in this part
    return part, whole


def _inputs(node: Any, nodes: Mapping[str, Any], fed: frozenset[str], blocked: set[str]) -> list[str]:
    """Return the inputs of a node, without the operations that cannot run before it."""
    inputs = []
    for text in node.input:
        operation = _operation(text)
        if not text.startswith("^"):
            inputs.append(_tensor(text))
        elif operation not in blocked and nodes[operation].op != "Placeholder":
            inputs.append(text)
    return inputs


def _tensor(text: str) -> str:
    """Return the name of an input of a node with its index; a control input stays as it is."""
    return text if text.startswith("^") or ":" in text else f"{text}:0"


def _operation(text: str) -> str:
    """Return the operation of an input of a node."""
    return text.removeprefix("^").partition(":")[0]


def _has(graph: Any, operation: str) -> bool:
    try:
        graph.get_operation_by_name(operation)
    except KeyError:
        return False
    return True
