"""A frozen TensorFlow graph, written so that tf2onnx and ONNX Runtime compute the same, also for odd values.

tf2onnx converts some operations silently wrong: its OneHot takes -1 for the last position, a negative index of a Gather
counts from the end, where TensorFlow refuses it, its Select is NaN if what is not selected is NaN, and its logarithm of
float64 is one of float32. Such operations are replaced by others that mean the same. All operations are checked against
a list of those of which it is known that both compute the same, NaN included; another one is refused by name, because
rows that were tried prove nothing about rows that were not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benison.serving.exports.proof import NotExportable

OPSET = 17
_INDEXED = {"GatherV2": 1, "GatherNd": 1, "SparseToDense": 0}  # which input has the indices
_FAR = 2**31 - 1  # an index that no table has
# Compared with ONNX Runtime 1.32 on NaN, infinities, zeros and ordinary values.
_SAME = (
    "Abs Add AddN AddV2 All Any AvgPool BatchMatMulV2 BatchMatMulV3 BiasAdd Cast Concat ConcatV2 Const "
    "Conv2D Cos Cosh DepthwiseConv2dNative Div DivNoNan Elu Equal Erf Exp ExpandDims Fill Floor "
    "FusedBatchNormV3 GatherNd GatherV2 Greater GreaterEqual HashTableV2 Identity IsInf IsNan LeakyRelu "
    "Less LessEqual Log LogicalAnd LogicalNot LogicalOr LookupTableFindV2 MatMul Maximum Mean Minimum Mul "
    "Neg NoOp NotEqual Pack Pad PadV2 Placeholder Pow Prod Range RealDiv Reciprocal Relu Relu6 Reshape "
    "Rsqrt SelectV2 Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign "
    "SparseToDense Split SplitV Sqrt Square SquaredDifference Squeeze StridedSlice Sub Sum Tanh Tile "
    "Transpose Unpack Where ZerosLike "
)
SAME = frozenset(_SAME.split())


def rewrite(graph: Any, tables: dict[bytes, Any], outputs: Any) -> Any:
    """Return the part of a graph between its inputs and outputs, with the same meaning in ONNX.

    Args:
        graph: a frozen tf.compat.v1.GraphDef without functions.
        tables: keys and values of each table by name; the tables of new look-ups are added.
        outputs: names of its outputs.

    Raises:
        NotExportable: an operation has no counterpart that is known to compute the same.
    """
    import tensorflow as tf

    part = tf.compat.v1.graph_util.extract_sub_graph(graph, [name.partition(":")[0] for name in outputs])
    rewriter = _Rewriter(part, tables)
    for node in part.node:
        rewriter.add(node)
    # What was computed only for a replaced operation is left out, so only what remains is checked.
    result = tf.compat.v1.graph_util.extract_sub_graph(rewriter.result, [name.partition(":")[0] for name in outputs])
    lacking = sorted({node.op for node in result.node} - SAME)
    if lacking:
        raise NotExportable(
            f"the model has {', '.join(lacking)}, which ONNX lacks or computes differently from TensorFlow"
        )
    return result


def convert(
    graph: Any,
    inputs: Any,
    outputs: Any,
    tables: dict[bytes, Any],
    renamed: Mapping[str, str] | None = None,
    name: str = "model",
) -> Any:
    """Return the onnx.ModelProto of a rewritten graph.

    Args:
        graph: the result of `rewrite`.
        inputs: names of its inputs.
        outputs: names of its outputs.
        tables: see `rewrite`.
        renamed: the names of inputs and outputs in ONNX.
        name: name of the model.

    Raises:
        NotExportable: tf2onnx cannot convert it, or would compute it with less precision.
    """
    from tf2onnx import convert as tf2onnx

    try:
        model, _ = tf2onnx._convert_common(
            graph, name=name, opset=OPSET, input_names=inputs, output_names=outputs, tensors_to_rename=renamed,
            initialized_tables=tables, custom_op_handlers={"SelectV2": (_where, [])},
        )  # fmt: skip
    except Exception as error:
        raise NotExportable(f"tf2onnx cannot convert this model: {str(error).splitlines()[0]}") from error
    _keep_precision(model, {node.name for node in graph.node if node.op == "Cast"})
    return model


def _where(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Convert SelectV2: tf2onnx multiplies by 0 what is not selected, so that NaN and infinity there count."""
    node.type = "Where"


def _keep_precision(model: Any, casts: set[str]) -> None:
    """Compute logarithms of float64 in float64: tf2onnx makes them float32, which ONNX Runtime no longer needs.

    Args:
        model: the model, which is changed.
        casts: names of the graph's own conversions.

    Raises:
        NotExportable: there is another conversion from float64 to float32 that the graph does not have.
    """
    import onnx

    nodes = model.graph.node
    producers = {output: node for node in nodes for output in node.output}
    narrowed = []
    for log in [node for node in nodes if node.op_type == "Log"]:
        before = producers.get(log.input[0])
        after = [node for node in nodes if log.output[0] in node.input]
        if before is not None and before.op_type == "Cast" and before.name not in casts:
            if not after or any(node.op_type != "Cast" or "_castback" not in node.name for node in after):
                raise NotExportable("tf2onnx computes a logarithm of float64 in float32")
            narrowed.append((log, before, after))
    for log, before, after in narrowed:
        log.input[0] = before.input[0]
        replaced = {node.output[0] for node in after}
        for node in nodes:
            for number, name in enumerate(node.input):
                if name in replaced:
                    node.input[number] = log.output[0]
        for node in after:
            nodes.remove(node)
        if not any(before.output[0] in node.input for node in nodes):
            nodes.remove(before)
    if narrowed:
        del model.graph.value_info[:]
    types = {
        info.name: info.type.tensor_type.elem_type for info in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    lost = [
        node.name
        for node in nodes
        if node.op_type == "Cast"
        and node.name not in casts
        and types.get(node.input[0]) == onnx.TensorProto.DOUBLE
        and any(attribute.name == "to" and attribute.i != onnx.TensorProto.DOUBLE for attribute in node.attribute)
        and "_castback" not in node.name
    ]
    if lost:
        raise NotExportable(f"tf2onnx computes {', '.join(lost)} in float32 instead of float64")


class _Rewriter:
    def __init__(self, graph: Any, tables: dict[bytes, Any]) -> None:
        self.result = type(graph)(versions=graph.versions, library=graph.library)
        self._nodes = {node.name: node for node in graph.node}
        self._tables = tables
        self._rules: Mapping[str, Callable[[Any], bool]] = {
            "EnsureShape": self._identity,
            "StopGradient": self._identity,
            "PreventGradient": self._identity,
            "StringToHashBucketFast": self._one_bucket,
            "LookupTableSizeV2": self._table_size,
            "OneHot": self._one_hot,
            "Log1p": self._log1p,
            **dict.fromkeys(_INDEXED, self._gather),
            "Equal": self._equal_text,
            "NotEqual": self._equal_text,
        }

    def add(self, node: Any) -> None:
        """Add a node, or what it is replaced by; its last operation has the node's name."""
        rule = self._rules.get(node.op)
        if rule is not None and rule(node):
            return
        added = self.result.node.add()
        added.CopyFrom(node)
        data = [name for name in node.input if not name.startswith("^")]  # nothing has an effect that must come before
        del added.input[:]
        added.input.extend(data)

    def _identity(self, node: Any) -> bool:
        self._op("Identity", node.name, [node.input[0]], T=node.attr["T"])
        return True

    def _one_bucket(self, node: Any) -> bool:
        """Replace a hash with one bucket by zeros."""
        if node.attr["num_buckets"].i != 1:
            return False
        shape = self._op("Shape", f"{node.name}/shape", [node.input[0]], T="string", out_type="int32")
        zero = self._const(f"{node.name}/zero", np.int64(0))
        self._op("Fill", node.name, [shape, zero], T="int64", index_type="int32")
        return True

    def _table_size(self, node: Any) -> bool:
        name = self._table_name(node.input[0])
        if name is None:
            return False
        self._const(node.name, np.int64(len(self._tables[name][0])))
        return True

    def _one_hot(self, node: Any) -> bool:
        """Replace it by a comparison, in which an index out of range is nowhere."""
        depth, on, off = (self._value(name) for name in node.input[1:4])
        if node.attr["axis"].i != -1 or depth is None or on != 1 or off != 0:
            return False
        index_type = node.attr["TI"].type
        last = self._const(f"{node.name}/last", np.int32(-1))
        places = self._const(f"{node.name}/places", np.arange(int(depth), dtype=_numpy(index_type)))
        spread = self._op("ExpandDims", f"{node.name}/spread", [node.input[0], last], T=index_type, Tdim="int32")
        equal = self._op("Equal", f"{node.name}/equal", [spread, places], T=index_type)
        self._op("Cast", node.name, [equal], SrcT="bool", DstT=node.attr["T"].type)
        return True

    def _log1p(self, node: Any) -> bool:
        """Replace log1p(x) by log(u) x / (u - 1) with u = 1 + x, which is as precise (W. Kahan); by x where u is 1."""
        dtype, x, name = node.attr["T"].type, node.input[0], node.name
        one = self._const(f"{name}/one", np.asarray(1, _numpy(dtype)))
        u = self._op("AddV2", f"{name}/u", [x, one], T=dtype)
        is_one = self._op("Equal", f"{name}/is_one", [u, one], T=dtype)
        rest = self._op("Sub", f"{name}/rest", [u, one], T=dtype)
        safe = self._op("SelectV2", f"{name}/safe", [is_one, one, rest], T=dtype)
        ratio = self._op("RealDiv", f"{name}/ratio", [x, safe], T=dtype)
        log = self._op("Log", f"{name}/log", [u], T=dtype)
        product = self._op("Mul", f"{name}/product", [log, ratio], T=dtype)
        # Of infinity, the ratio would be NaN. A number that does not change by 1 is its own u.
        large = self._op("Equal", f"{name}/large", [u, x], T=dtype)
        logarithm = self._op("SelectV2", f"{name}/logarithm", [large, log, product], T=dtype)
        self._op("SelectV2", name, [is_one, x, logarithm], T=dtype)
        return True

    def _gather(self, node: Any) -> bool:
        """Send a negative index, which would count from the end, to a place that no table has: it is refused."""
        place = _INDEXED[node.op]
        # A look at an attribute that a node does not have would give it one.
        if self._value(node.input[place]) is not None or ("batch_dims" in node.attr and node.attr["batch_dims"].i):
            return False
        dtype, name = node.attr["Tindices"].type, node.name
        zero = self._const(f"{name}/zero", np.asarray(0, _numpy(dtype)))
        far = self._const(f"{name}/far", np.asarray(_FAR, _numpy(dtype)))
        negative = self._op("Less", f"{name}/negative", [node.input[place], zero], T=dtype)
        index = self._op("SelectV2", f"{name}/index", [negative, far, node.input[place]], T=dtype)
        added = self.result.node.add()
        added.CopyFrom(node)
        added.input[place] = index
        return True

    def _equal_text(self, node: Any) -> bool:
        """Replace a comparison of text with a constant by a look-up, because ONNX compares no texts."""
        import tensorflow as tf

        if node.attr["T"].type != tf.string.as_datatype_enum:
            return False
        for one, other in ((0, 1), (1, 0)):
            text = self._value(node.input[other])
            if text is not None and text.ndim == 0:
                table = f"{node.name}/table"
                self._tables[table.encode()] = (np.array([text.item()], object), np.array([1], np.int64))
                made = self.result.node.add(name=table, op="HashTableV2")
                made.attr["shared_name"].s = table.encode()
                made.attr["key_dtype"].type = tf.string.as_datatype_enum
                made.attr["value_dtype"].type = tf.int64.as_datatype_enum
                nothing = self._const(f"{node.name}/nothing", np.int64(0))
                found = self._op(
                    "LookupTableFindV2", f"{node.name}/found", [table, node.input[one], nothing],
                    Tin="string", Tout="int64",
                )  # fmt: skip
                hit = self._const(f"{node.name}/hit", np.int64(1))
                self._op(node.op, node.name, [found, hit], T="int64")
                return True
        return False

    def _table_name(self, text: str) -> Any:
        node = self._nodes[text.partition(":")[0]]
        while node.op == "Identity":
            node = self._nodes[node.input[0].partition(":")[0]]
        name = node.attr["shared_name"].s
        return name if name in self._tables else None

    def _value(self, text: str) -> Any:
        """Return the value of a constant; None if it is none."""
        import tensorflow as tf

        node = self._nodes[text.partition(":")[0]]
        while node.op == "Identity":
            node = self._nodes[node.input[0].partition(":")[0]]
        return np.asarray(tf.make_ndarray(node.attr["value"].tensor)) if node.op == "Const" else None

    def _const(self, name: str, value: Any) -> str:
        import tensorflow as tf

        node = self.result.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
        return name

    def _op(self, op: str, name: str, inputs: list[str], **types: Any) -> str:
        import tensorflow as tf

        node = self.result.node.add(name=name, op=op, input=inputs)
        for key, value in types.items():
            if hasattr(value, "CopyFrom"):
                node.attr[key].CopyFrom(value)
            else:
                node.attr[key].type = tf.as_dtype(value).as_datatype_enum
        return name


def _numpy(dtype: int) -> Any:
    import tensorflow as tf

    return tf.as_dtype(dtype).as_numpy_dtype
