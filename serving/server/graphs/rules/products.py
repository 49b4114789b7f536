"""Operations that combine elements, each within its row."""

from __future__ import annotations

from collections.abc import Sequence

from benison.serving.server.graphs.facts import Fact, Kind, Mixes, broadcast, mixed, of_value, with_shape
from benison.serving.server.graphs.operation import ANY, Operation, axis_of, rule
from benison.serving.server.graphs.sizes import ONE, Dim, Rows, Size, product, size_of


@rule("Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "EuclideanNorm", accepts=ANY)
def _reduce(operation: Operation) -> list[Fact]:
    # Within a row, if the axis of the rows is none of the axes.
    fact, axes = operation.inputs
    if operation.node.op == "Prod" and fact.value and fact.rank == 1 and None not in fact.value and axes.value:
        return [of_value((product(fact.sizes),), (), fact)]
    if fact.kind is Kind.MIXED:
        return [mixed(fact.reason)]
    if fact.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixes("an input depends on several rows, or on their number")
    if fact.kind is Kind.CONSTANT and (fact.shape is None or axes.value is None):
        return [Fact(Kind.CONSTANT)]
    chosen = {axis_of(axis, fact.rank) for axis in axes.numbers}
    keep = operation.flag("keep_dims")
    if fact.row_axis in chosen:
        # The result has no rows; it is one number where nothing is left.
        left = len(fact.dims) - len(chosen)
        if operation.node.op in ("All", "Any"):
            return [Fact(Kind.ALL if operation.node.op == "All" else Kind.SOME)]
        return [operation.mixes("it combines the rows", () if not keep and not left else None)]
    dims = [ONE if axis in chosen else dim for axis, dim in enumerate(fact.dims) if keep or axis not in chosen]
    return [with_shape(dims)]


@rule("ArgMax", "ArgMin")
def _place_of_extreme(operation: Operation) -> list[Fact]:
    # As for a sum.
    fact, axis_fact = operation.inputs
    axis = axis_of(axis_fact.numbers[0], fact.rank)
    if fact.row_axis == axis:
        raise Mixes("it combines the rows")
    return [with_shape((*fact.dims[:axis], *fact.dims[axis + 1 :]))]


@rule("Softmax", "LogSoftmax")
def _softmax(operation: Operation) -> list[Fact]:
    # Along the last axis.
    (fact,) = operation.inputs
    _check_beside(fact, 1)
    return [with_shape(fact.dims)]


@rule("TopKV2")
def _largest(operation: Operation) -> list[Fact]:
    # Along the last axis.
    fact, count = operation.inputs
    _check_beside(fact, 1)
    (size,) = count.sizes
    if size.row_symbols:
        raise Mixes("the count depends on the rows")
    return [with_shape((*fact.dims[:-1], size))] * 2


def _check_beside(fact: Fact, axes: int) -> None:
    """Refuse rows along one of the last axes."""
    if fact.rank < axes or (fact.row_axis is not None and fact.row_axis >= fact.rank - axes):
        raise Mixes("it combines the rows")


@rule("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _matrix_product(operation: Operation) -> list[Fact]:
    # The axis of the rows may be free or common, but is not summed over; only one factor may have rows on a free axis.
    a, b = operation.inputs
    is_matmul = operation.node.op == "MatMul"
    flags = ("transpose_a", "transpose_b") if is_matmul else ("adj_x", "adj_y")
    *batch_a, rows, inner_a = _matrix(a, operation.flag(flags[0]))
    *batch_b, inner_b, columns = _matrix(b, operation.flag(flags[1]))
    if isinstance(inner_a, Rows) or isinstance(inner_b, Rows):
        raise Mixes("it sums over the rows")
    both = a.row_axis is not None and b.row_axis is not None
    batch = broadcast([tuple(batch_a), tuple(batch_b)], operation.symbols.fixed)
    if both and (isinstance(rows, Rows) or isinstance(columns, Rows)):
        raise Mixes("every row meets every other row")
    return [with_shape((*batch, rows, columns))]


def _matrix(fact: Fact, transposed: bool) -> tuple[Dim, ...]:
    if fact.rank < 2:
        raise Mixes("a factor is no matrix")
    *batch, rows, columns = fact.dims
    return (*batch, columns, rows) if transposed else (*batch, rows, columns)


@rule("Einsum")
def _einsum(operation: Operation) -> list[Fact]:
    # The letter of the rows is in the result, and stands for nothing else.
    terms, _, result = operation.text("equation").replace(" ", "").partition("->")
    letters: dict[str, Dim] = {}
    if "." in terms or len(terms.split(",")) != len(operation.inputs):
        raise Mixes("the equation leaves axes unnamed")
    for term, fact in zip(terms.split(","), operation.inputs, strict=True):
        if len(term) != fact.rank or len(set(term)) != len(term):
            raise Mixes("the equation repeats a letter")
        for letter, dim in zip(term, fact.dims, strict=True):
            known = letters.setdefault(letter, dim)
            if known != dim and (isinstance(known, Rows) or isinstance(dim, Rows)):
                raise Mixes("rows meet something else")
    rows = [letter for letter, dim in letters.items() if isinstance(dim, Rows)]
    if len(rows) > 1 or any(letter not in result for letter in rows) or len(set(result)) != len(result):
        raise Mixes("it combines the rows")
    return [with_shape([letters[letter] for letter in result])]


@rule("Conv2D", "DepthwiseConv2dNative")
def _convolve(operation: Operation) -> list[Fact]:
    # Within a picture; the first axis is that of the rows.
    fact, kernel = operation.inputs
    height, width, channels, factor = kernel.dims
    if kernel.kind is not Kind.CONSTANT:
        raise Mixes("the kernel depends on rows")
    out = factor if operation.node.op == "Conv2D" else channels * size_of(factor) if isinstance(channels, Size) else ONE
    dilations = operation.integers("dilations") or [1, 1, 1, 1]
    return [_windowed(operation, fact, (height, width), operation.integers("strides"), dilations, out)]


@rule("MaxPool", "AvgPool")
def _pool(operation: Operation) -> list[Fact]:
    # See above.
    (fact,) = operation.inputs
    window = operation.integers("ksize")
    places = _spatial(operation)
    if any(window[axis] != 1 for axis in range(4) if axis not in places):
        raise Mixes("its window has several rows or channels")
    sizes = (Size(window[places[0]]), Size(window[places[1]]))
    return [_windowed(operation, fact, sizes, operation.integers("strides"), [1, 1, 1, 1], None)]


def _spatial(operation: Operation) -> tuple[int, int]:
    return (2, 3) if operation.text("data_format") == "NCHW" else (1, 2)


def _windowed(
    operation: Operation,
    fact: Fact,
    window: tuple[Dim, Dim],
    strides: Sequence[int],
    dilations: Sequence[int],
    channels: Dim | None,
) -> Fact:
    if fact.rank != 4 or fact.row_axis not in (0, None):
        raise Mixes("the rows are not along the first axis")
    places = _spatial(operation)
    dims = list(fact.dims)
    for axis, size in zip(places, window, strict=True):
        dims[axis] = _window_count(operation, dims[axis], size, strides[axis], dilations[axis])
    if channels is not None:
        dims[({1, 2, 3} - set(places)).pop()] = channels
    return with_shape(dims)


def _window_count(operation: Operation, dim: Dim, window: Dim, stride: int, dilation: int) -> Size:
    padding = operation.text("padding")
    if isinstance(dim, Rows) or not dim.is_number or padding not in ("SAME", "VALID"):
        return operation.unknown_size()
    reach = 1 if padding == "SAME" else (size_of(window).number - 1) * dilation + 1
    return Size(max(-(-(dim.number - reach + 1) // stride), 0))


@rule("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _normalize(operation: Operation) -> list[Fact]:
    # With the means of the training, not of these rows.
    fact, *parameters = operation.inputs
    if operation.flag("is_training"):
        raise Mixes("it uses the mean of the rows")
    if fact.row_axis not in (0, None) or any(parameter.kind is not Kind.CONSTANT for parameter in parameters):
        raise Mixes("a parameter depends on rows")
    return [with_shape(fact.dims), *[Fact(Kind.CONSTANT)] * (operation.outputs - 1)]


@rule("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea")
def _resize(operation: Operation) -> list[Fact]:
    # Each picture alone.
    fact, size = operation.inputs
    if fact.rank != 4 or fact.row_axis not in (0, None):
        raise Mixes("the rows are not along the first axis")
    height, width = size.numbers
    return [with_shape((fact.dims[0], Size(height), Size(width), fact.dims[3]))]


@rule("DenseBincount", accepts=ANY)
def _count(operation: Operation) -> list[Fact]:
    # A matrix is counted by rows; a vector as a whole.
    fact, size, weights = operation.inputs
    for other in (fact, weights):
        if other.kind not in (Kind.ROWS, Kind.CONSTANT):
            raise Mixes(other.reason or "an input depends on several rows")
    (count,) = size.sizes
    if fact.rank != 2 or fact.row_axis not in (0, None) or count.row_symbols:
        raise Mixes("it counts the values of all rows together")
    dim = fact.dims[0]
    if isinstance(dim, Rows) and not dim.is_plain:
        raise Mixes("it counts the values of several rows together")
    if weights.dims != (Size(0),) and weights.dims != fact.dims:
        raise Mixes("the weights are not those of the rows")
    return [with_shape((dim, count))]
