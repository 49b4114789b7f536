"""An ONNX model as a function in TensorFlow operations.

Each operator is converted only as far as its meaning is the same, with each of its attributes: whatever is not known is
refused by name. The importer then compares the function with ONNX Runtime on real rows and on rows with odd values.

No library does this here: onnx-tf is no longer maintained, onnx2tf needs newer releases than TFX allows, and neither
has the operators of scikit-learn's models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benison.components.train.foreign.columns import ModelInput
from benison.components.train.foreign.imported import Imported
from benison.components.train.foreign.onnx_nodes import Node, NotConverted
from benison.components.train.foreign.settings import ForeignModel
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

_OPSETS = {"": range(7, 23), "ai.onnx.ml": range(1, 4)}
_TYPES = {
    1: "float32",
    11: "float64",
    10: "float16",
    7: "int64",
    6: "int32",
    5: "int16",
    3: "int8",
    8: "string",
    9: "bool",
}


@dataclass(frozen=True)
class Graph:
    """The graph of a model between its inputs and one output.

    Attributes:
        inputs: by name.
        output: name of the output.
        nodes: the nodes that the output needs, in their order.
        constants: numpy arrays by name.
        dtype: the output's type.
        shape: the output's sizes.
        model: the ONNX ModelProto without other outputs and without ZipMap.
    """

    inputs: Mapping[str, ModelInput]
    output: str
    nodes: Sequence[Node]
    constants: Mapping[str, Any]
    dtype: str
    shape: Sequence[int | None] | None
    model: Any = field(repr=False)


def load(model: ForeignModel) -> Imported:
    """Load a model and convert it.

    Raises:
        UsageError: it cannot be read, has no such output, or an operator cannot be converted; the message names it.
    """
    graph = read(model)
    try:
        call, tracked = _function(graph)
    except NotConverted as error:
        raise UsageError(
            f"{model.where('path')}: {model.path} cannot become part of the ensemble's graph: {error}; export "
            "another model, or serve this one by itself (docs/serving.md)"
        ) from None
    reference = _runtime(model, graph)
    return Imported(graph.inputs, graph.output, graph.dtype, graph.shape, call, tracked, reference)


def read(model: ForeignModel) -> Graph:
    """Read a model up to the output that the settings name.

    Raises:
        UsageError: it is no valid ONNX model, or has no such output.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx.external_data_helper import uses_external_data
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{model.where('kind')}: onnx needs the package {error.name}: pip install 'benison[onnx]'"
        ) from None
    where = model.where("path")
    try:
        proto = onnx.load(model.path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise UsageError(f"{where}: {model.path} cannot be read as an ONNX model: {error}") from None
    if any(uses_external_data(tensor) for tensor in proto.graph.initializer):
        raise UsageError(f"{where}: {model.path} has its weights in other files; save it as one file")
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise UsageError(f"{where}: {model.path} is no valid ONNX model: {str(error).splitlines()[0]}") from None
    output = _output(model, proto)
    _refuse_other_order(model, proto, output)
    proto = _up_to(proto, output)
    info = proto.graph.output[0]
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    inputs = {value.name: _input(model, value) for value in proto.graph.input if value.name not in constants}
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    nodes = [Node.of(node, opsets) for node in proto.graph.node]
    dtype, shape = _type(info)
    return Graph(inputs, info.name, nodes, constants, dtype, shape, proto)


def _output(model: ForeignModel, proto: Any) -> str:
    """Return the output that the settings name; without a name, the only one, or the scores of a classifier."""
    known = [value.name for value in proto.graph.output]
    if model.output:
        if model.output not in known:
            raise UsageError(
                f"{model.where('output')}: the model has no output {model.output!r}{did_you_mean(model.output, known)} "
                f"(it has {', '.join(known)})"
            )
        return model.output
    if len(known) != 1:
        raise UsageError(
            f"{model.where('output')}: missing; the model has the outputs {', '.join(known)}, name the one with the "
            f"{'number' if model.problem == 'regression' else 'probabilities'}"
        )
    return str(known[0])


def _refuse_other_order(model: ForeignModel, proto: Any, output: str) -> None:
    """Refuse classes in another order than the model itself names them, if it names the same ones.

    Raises:
        UsageError: the order is another one.
    """
    import onnx

    for node in proto.graph.node:
        if output not in node.output:
            continue
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels"):
                values = onnx.helper.get_attribute_value(attribute)
                names = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
                if sorted(names) == sorted(model.classes) and names != list(model.classes):
                    raise UsageError(
                        f"{model.where('classes')}: got {', '.join(model.classes)}; the model names the columns of "
                        f"{output} {', '.join(names)}"
                    )


def _up_to(proto: Any, output: str) -> Any:
    """Return a model with only one output and the nodes that it needs.

    A ZipMap, which makes a list of dicts of probabilities, is left out: its input becomes the output.
    """
    import onnx

    makers = {name: node for node in proto.graph.node for name in node.output}
    zipped = makers.get(output)
    final = zipped.input[0] if zipped is not None and zipped.op_type == "ZipMap" else output
    needed, pending = set(), [final]
    while pending:
        name = pending.pop()
        if name in makers and id(makers[name]) not in needed:
            needed.add(id(makers[name]))
            pending += makers[name].input
    kept = onnx.ModelProto()
    kept.CopyFrom(proto)
    graph = kept.graph
    nodes = [node for node in proto.graph.node if id(node) in needed]
    del graph.node[:]
    graph.node.extend(nodes)
    read_names = {name for node in nodes for name in node.input} | {final}
    for values in (graph.input, graph.initializer):
        used = [value for value in values if value.name in read_names]
        del values[:]
        values.extend(used)
    declared = {value.name: value for value in (*proto.graph.output, *proto.graph.value_info, *proto.graph.input)}
    del graph.output[:]
    if final in declared:
        graph.output.append(declared[final])
    else:
        graph.output.add(name=final).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return kept


def _input(model: ForeignModel, value: Any) -> ModelInput:
    if not value.type.HasField("tensor_type"):
        raise UsageError(f"{model.where(f'inputs.{value.name}')}: the input is no tensor")
    dtype, shape = _type(value)
    return ModelInput(dtype, shape)


def _type(value: Any) -> tuple[str, list[int | None] | None]:
    tensor = value.type.tensor_type
    dtype = _TYPES.get(tensor.elem_type, f"type {tensor.elem_type}")
    if not tensor.HasField("shape"):
        return dtype, None
    return dtype, [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim
    ]


def _function(graph: Graph) -> tuple[Callable[[Mapping[str, Any]], Any], list[Any]]:
    """Return the function from the inputs to the output, and the tables that it reads."""
    import tensorflow as tf

    from benison.components.train.foreign import onnx_ml_operators, onnx_operators

    operators = {("", name): make for name, make in onnx_operators.OPERATORS.items()}
    operators |= {("ai.onnx.ml", name): make for name, make in onnx_ml_operators.OPERATORS.items()}
    constants = dict(graph.constants)
    tracked: list[Any] = []
    steps: list[tuple[Node, Any]] = []
    for node in graph.nodes:
        make = operators.get((node.domain, node.operator))
        known = _OPSETS.get(node.domain, range(0))
        if make is None or node.opset not in known:
            version = f" of opset {node.opset}" if make is not None else ""
            raise NotConverted(f"its operator {node.label}{version} is not converted")
        step = make(node.with_constants(constants))
        node.refuse_rest()
        tracked += getattr(step, "tracked", ())
        if node.operator == "Constant":
            constants[node.outputs[0]] = step()
        else:
            steps.append((node, step))
    # Outside of the function, so that a SavedModel has them once for all signatures.
    held = {name: tf.constant(value) for name, value in constants.items()}

    def call(inputs: Mapping[str, Any]) -> Any:
        values = {**held, **inputs}
        for node, step in steps:
            results = step(*(values[name] if name else None for name in node.inputs))
            results = results if isinstance(results, tuple) else (results,)
            values.update(zip(node.outputs, results, strict=False))
        return values[graph.output]

    return tf.function(call, autograph=False), tracked


def _runtime(model: ForeignModel, graph: Graph) -> Callable[[Mapping[str, Any]], Any]:
    """Return the same function, computed by ONNX Runtime: from arrays by input to the output."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    content = graph.model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own classes, which it does not export
        reason = " ".join(str(error).split())
        raise UsageError(f"{model.where('path')}: ONNX Runtime cannot load {model.path}: {reason}") from None

    def run(inputs: Mapping[str, Any]) -> Any:
        feeds = {name: np.asarray(values) for name, values in inputs.items()}
        texts = {name: np.vectorize(_text, otypes=[object])(v) for name, v in feeds.items() if v.dtype == object}
        return session.run([graph.output], {**feeds, **texts})[0]

    return run


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
