"""ONNX's own operators in TensorFlow, as PyTorch, tf2onnx and skl2onnx write them for tables of rows.

A maker takes a node, reads its attributes and returns a function from the inputs to the output. The definitions are
those of https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from benison.components.train.foreign.onnx_nodes import Node

Step = Callable[..., Any]
_TYPES = {1: "float32", 11: "float64", 7: "int64", 6: "int32", 9: "bool"}  # that `Cast` may convert to


def _of(function: Callable[..., Any]) -> Callable[[Node], Step]:
    """Return the maker of an operator without attributes."""
    return lambda node: function


def _tf(name: str) -> Callable[[Node], Step]:
    """Return the maker of an operator without attributes that is a function of TensorFlow, such as math.exp."""

    def make(node: Node) -> Step:
        import tensorflow as tf

        return reduce(getattr, name.split("."), tf)

    return make


def _folded(name: str) -> Callable[[Node], Step]:
    """Return the maker of an operator of any number of inputs."""

    def make(node: Node) -> Step:
        import tensorflow as tf

        function = reduce(getattr, name.split("."), tf)
        return lambda *values: reduce(function, values)

    return make


def _div(left: Any, right: Any) -> Any:
    import tensorflow as tf

    return tf.math.truediv(left, right) if left.dtype.is_floating else tf.truncatediv(left, right)


def _relu(x: Any) -> Any:
    import tensorflow as tf

    return tf.where(x < 0, tf.zeros([], x.dtype), x)  # TensorFlow's own one makes 0 of NaN


def _matmul(node: Node) -> Step:
    import tensorflow as tf

    def step(left: Any, right: Any) -> Any:
        if left.shape.rank is None or right.shape.rank is None or min(left.shape.rank, right.shape.rank) < 2:
            raise node.fault(f"the factors have the shapes {left.shape} and {right.shape}, expected two sizes or more")
        return tf.linalg.matmul(left, right)

    return step


def _gemm(node: Node) -> Step:
    import tensorflow as tf

    alpha, beta = node.take("alpha", 1.0), node.take("beta", 1.0)
    left, right = bool(node.take("transA", 0)), bool(node.take("transB", 0))

    def step(a: Any, b: Any, c: Any = None) -> Any:
        product = tf.linalg.matmul(a, b, transpose_a=left, transpose_b=right)
        product = product if alpha == 1 else product * tf.cast(alpha, product.dtype)
        if c is None:
            return product
        return product + (c if beta == 1 else c * tf.cast(beta, c.dtype))

    return step


def _softmax(function: str) -> Callable[[Node], Step]:
    def make(node: Node) -> Step:
        import tensorflow as tf

        axis = node.take("axis", -1 if node.opset >= 13 else 1)

        def step(values: Any) -> Any:
            rank = values.shape.rank
            is_last = rank is not None and axis in (-1, rank - 1)
            if not is_last and node.opset < 13:  # the older form is over all sizes from the axis on
                raise node.fault(f"axis {axis} of a tensor of {rank} sizes is not converted, only the last one")
            return getattr(tf.nn, function)(values, axis=axis)

        return step

    return make


def _leaky(node: Node) -> Step:
    import tensorflow as tf

    alpha = node.take("alpha", 0.01)
    return lambda x: tf.where(x < 0, x * tf.cast(alpha, x.dtype), x)


def _elu(node: Node) -> Step:
    import tensorflow as tf

    alpha = node.take("alpha", 1.0)
    return lambda x: tf.where(x < 0, tf.cast(alpha, x.dtype) * tf.math.expm1(tf.minimum(x, 0)), x)


def _selu(node: Node) -> Step:
    import tensorflow as tf

    alpha, gamma = node.take("alpha", 1.6732632423543772), node.take("gamma", 1.0507009873554805)
    return lambda x: (
        tf.cast(gamma, x.dtype) * tf.where(x > 0, x, tf.cast(alpha, x.dtype) * tf.math.expm1(tf.minimum(x, 0)))
    )


def _hard_sigmoid(node: Node) -> Step:
    import tensorflow as tf

    alpha, beta = node.take("alpha", 0.2), node.take("beta", 0.5)
    return lambda x: tf.clip_by_value(x * tf.cast(alpha, x.dtype) + tf.cast(beta, x.dtype), 0, 1)


def _gelu(node: Node) -> Step:
    import tensorflow as tf

    approximate = node.expect("approximate", "none", "tanh") == "tanh"
    return lambda x: tf.nn.gelu(x, approximate=approximate)


def _clip(node: Node) -> Step:
    import tensorflow as tf

    if node.opset < 11:
        low, high = node.take("min", -math.inf), node.take("max", math.inf)
    else:
        low, high = node.constant(1), node.constant(2)

    def step(x: Any, *_: Any) -> Any:
        x = x if low is None else tf.maximum(x, tf.cast(low, x.dtype))
        return x if high is None else tf.minimum(x, tf.cast(high, x.dtype))

    return step


def _cast(node: Node) -> Step:
    import tensorflow as tf

    to = node.take("to")
    node.expect("saturate", 1)
    if to not in _TYPES:
        raise node.fault(f"a cast to type {to} is not converted, only to {', '.join(_TYPES.values())}")

    def step(values: Any) -> Any:
        if values.dtype == tf.string:
            raise node.fault("a cast from text is not converted")
        return tf.cast(values, _TYPES[to])

    return step


def _concat(node: Node) -> Step:
    import tensorflow as tf

    axis = node.take("axis")
    return lambda *values: tf.concat(values, axis=axis)


def _flatten(node: Node) -> Step:
    import tensorflow as tf

    node.expect("axis", 1)
    return lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], math.prod(x.shape[1:])]))


def _reshape(node: Node) -> Step:
    import tensorflow as tf

    node.expect("allowzero", 0)
    sizes = [int(size) for size in np.ravel(node.constant(1))]

    def step(x: Any, _: Any) -> Any:
        if 0 not in sizes:
            return tf.reshape(x, sizes)
        shape = tf.shape(x)
        return tf.reshape(x, tf.stack([shape[place] if size == 0 else size for place, size in enumerate(sizes)]))

    return step


def _transpose(node: Node) -> Step:
    import tensorflow as tf

    order = node.take("perm")
    return lambda x: tf.transpose(x, order)


def _axes(node: Node, opset: int) -> list[int] | None:
    """Return the axes of a node, an attribute before an opset and an input since then; None if there are none."""
    axes = node.take("axes") if node.opset < opset else node.constant(1)
    return None if axes is None else [int(axis) for axis in np.ravel(axes)]


def _squeeze(node: Node) -> Step:
    import tensorflow as tf

    axes = _axes(node, 13)
    if axes is None:
        raise node.fault("without axes it is not converted, because a batch of one row would lose its size")
    return lambda x, *_: tf.squeeze(x, axes)


def _unsqueeze(node: Node) -> Step:
    import tensorflow as tf

    axes = _axes(node, 13) or []
    if min(axes, default=0) < 0 and len(axes) > 1:
        raise node.fault("several axes from the end are not converted")

    def step(x: Any, *_: Any) -> Any:
        for axis in sorted(axes):
            x = tf.expand_dims(x, axis)
        return x

    return step


def _gather(node: Node) -> Step:
    import tensorflow as tf

    axis = node.take("axis", 0)

    def step(x: Any, indices: Any) -> Any:
        size = tf.shape(x, out_type=indices.dtype)[axis]
        # An index outside would be 0 on some devices; ONNX refuses it.
        inside = tf.debugging.Assert(
            tf.reduce_all((indices >= -size) & (indices < size)),
            ["an index of a Gather is outside, in a foreign member"],
        )
        with tf.control_dependencies([] if inside is None else [inside]):
            return tf.gather(x, tf.where(indices < 0, indices + size, indices), axis=axis)

    return step


def _slice(node: Node) -> Step:
    import tensorflow as tf

    if node.opset < 10:
        starts, ends, axes, steps = node.take("starts"), node.take("ends"), node.take("axes"), None
    else:
        starts, ends, axes, steps = (node.constant(place) for place in (1, 2, 3, 4))
    starts, ends = np.ravel(starts), np.ravel(ends)
    axes = range(len(starts)) if axes is None else [int(axis) for axis in np.ravel(axes)]
    if steps is not None and (np.ravel(steps) != 1).any():
        raise node.fault("steps other than 1 are not converted")

    def step(x: Any, *_: Any) -> Any:
        parts: list[Any] = [slice(None)] * x.shape.rank
        for axis, start, end in zip(axes, starts, ends, strict=True):
            parts[axis] = slice(int(start), None if end > 2**31 - 2 else int(end))
        return x[tuple(parts)]

    return lambda x, *others: step(tf.convert_to_tensor(x), *others)


def _reduction(name: str, with_input: int) -> Callable[[Node], Step]:
    """Return the maker of a reduction whose axes are an input since an opset."""

    def make(node: Node) -> Step:
        import tensorflow as tf

        function = getattr(tf, name)
        axes, keep = _axes(node, with_input), bool(node.take("keepdims", 1))
        node.expect("noop_with_empty_axes", 0)
        if axes is None:
            raise node.fault("without axes it is not converted, because the answer to a row would depend on others")
        return lambda x, *_: function(x, axis=axes, keepdims=keep)

    return make


def _arg_max(node: Node) -> Step:
    import tensorflow as tf

    axis, keep = node.take("axis", 0), node.take("keepdims", 1)
    node.expect("select_last_index", 0)

    def step(x: Any) -> Any:
        places = tf.argmax(x, axis=axis)
        return tf.expand_dims(places, axis) if keep else places

    return step


def _batch_normalization(node: Node) -> Step:
    import tensorflow as tf

    epsilon = node.take("epsilon", 1e-5)
    node.take("momentum")  # only of a training
    node.expect("training_mode", 0)
    node.expect("spatial", 1)

    def step(x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
        if x.shape.rank != 2:
            raise node.fault(f"a tensor of {x.shape.rank} sizes is not converted, only [rows, features]")
        return (x - mean) * (scale * tf.math.rsqrt(variance + tf.cast(epsilon, variance.dtype))) + bias

    return step


def _layer_normalization(node: Node) -> Step:
    import tensorflow as tf

    epsilon = node.take("epsilon", 1e-5)
    node.expect("axis", -1)
    node.expect("stash_type", 1)

    def step(x: Any, scale: Any, bias: Any = None) -> Any:
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        normal = (x - mean) * tf.math.rsqrt(variance + tf.cast(epsilon, x.dtype)) * scale
        return normal if bias is None else normal + bias

    return step


def _dropout(node: Node) -> Step:
    node.take("ratio")
    node.take("seed")
    if bool(np.any(node.constant(2, False))):
        raise node.fault("it is in training mode; export the model for inference")
    return lambda x, *_: x


def _constant(node: Node) -> Step:
    import onnx

    for key in ("value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings"):
        value = node.take(key)
        if value is not None:
            break
    else:
        raise node.fault("its value is not converted")
    if key == "value":
        array = onnx.numpy_helper.to_array(value)
    else:
        array = np.array(value, {"float": np.float32, "int": np.int64}.get(key[6:].rstrip("s"), object))
    return lambda: array


def _shape(node: Node) -> Step:
    import tensorflow as tf

    start, end = node.take("start", 0), node.take("end")
    return lambda x: tf.shape(x, out_type=tf.int64)[start:end]


def _mean(*values: Any) -> Any:
    import tensorflow as tf

    return reduce(tf.add, values) / tf.cast(len(values), values[0].dtype)


def _power(left: Any, right: Any) -> Any:
    import tensorflow as tf

    return tf.pow(left, tf.cast(right, left.dtype))


OPERATORS: dict[str, Callable[[Node], Step]] = {
    **dict.fromkeys(("Identity",), _of(lambda x: x)),
    **{
        name: _tf(function)
        for name, function in {
            "Add": "add",
            "Sub": "subtract",
            "Mul": "multiply",
            "Sigmoid": "sigmoid",
            "Tanh": "tanh",
            "Softplus": "math.softplus",
            "Softsign": "math.softsign",
            "Erf": "math.erf",
            "Exp": "exp",
            "Log": "math.log",
            "Sqrt": "sqrt",
            "Abs": "abs",
            "Neg": "negative",
            "Reciprocal": "math.reciprocal",
            "Floor": "floor",
            "Ceil": "math.ceil",
            "Sign": "sign",
            "IsNaN": "math.is_nan",
            "Not": "logical_not",
            "And": "logical_and",
            "Or": "logical_or",
            "Equal": "equal",
            "Less": "less",
            "LessOrEqual": "less_equal",
            "Greater": "greater",
            "GreaterOrEqual": "greater_equal",
            "Where": "where",
        }.items()
    },
    "Relu": _of(_relu),
    "Min": _folded("minimum"),
    "Max": _folded("maximum"),
    "Sum": _folded("add"),
    "Mean": _of(_mean),
    "Div": _of(_div),
    "Pow": _of(_power),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "LeakyRelu": _leaky,
    "Elu": _elu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "Gelu": _gelu,
    "Clip": _clip,
    "Cast": _cast,
    "Concat": _concat,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Gather": _gather,
    "Slice": _slice,
    "ReduceSum": _reduction("reduce_sum", 13),
    "ReduceMean": _reduction("reduce_mean", 18),
    "ReduceMax": _reduction("reduce_max", 18),
    "ReduceMin": _reduction("reduce_min", 18),
    "ArgMax": _arg_max,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "Dropout": _dropout,
    "Constant": _constant,
    "Shape": _shape,
}
