"""Operations that make constants, sizes and numbers of rows."""

from __future__ import annotations

from benison.serving.server.graphs.facts import (
    AtLeast,
    Element,
    Fact,
    Kind,
    Mixes,
    Shape,
    dims_of,
    mixed,
    of_value,
    with_shape,
)
from benison.serving.server.graphs.operation import ANY, USUAL, Operation, rule
from benison.serving.server.graphs.sizes import ONE, Rows, Size, product, size_of

_MAX_ELEMENTS = 64  # a constant with more is no shape
_WHOLE = (3, 9)  # int32 and int64 as numbers of DataType
_BOOL = 10


@rule("Const")
def _constant(operation: Operation) -> list[Fact]:
    # A constant is the same for all rows.
    import tensorflow as tf

    proto = operation.node.attr["value"].tensor
    sizes = [Size(dim.size) for dim in proto.tensor_shape.dim]
    shape: Shape = tuple(sizes)
    elements = product(sizes).number
    if len(shape) > 2 or elements > _MAX_ELEMENTS or proto.dtype not in (*_WHOLE, _BOOL):
        return [Fact(Kind.CONSTANT, shape)]
    array = tf.make_ndarray(proto)
    if len(shape) == 2:
        return [Fact(Kind.CONSTANT, shape, matrix=tuple(map(tuple, array.tolist())))]
    if proto.dtype in _WHOLE:
        return [Fact(Kind.CONSTANT, shape, tuple(Size(int(number)) for number in array.reshape(-1)))]
    return [Fact(Kind.CONSTANT, shape, fill=bool(array) if not shape else None)]


@rule("VarHandleOp")
def _variable(operation: Operation) -> list[Fact]:
    # A variable is the same for all rows; a signature that writes one is found elsewhere.
    shape = operation.node.attr["shape"].shape
    known = not shape.unknown_rank
    inner = Fact(
        Kind.CONSTANT,
        tuple(Size(dim.size) if dim.size >= 0 else operation.unknown_size() for dim in shape.dim) if known else None,
    )
    return [Fact(Kind.CONSTANT, (), inner=inner)]


@rule("ReadVariableOp")
def _read_variable(operation: Operation) -> list[Fact]:
    # See above.
    return [operation.inputs[0].inner or Fact(Kind.CONSTANT)]


@rule("VariableV2", "Variable")
def _reference_variable(operation: Operation) -> list[Fact]:
    # See above.
    shape = operation.node.attr["shape"].shape
    if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
        return [Fact(Kind.CONSTANT)]
    return [Fact(Kind.CONSTANT, tuple(Size(dim.size) for dim in shape.dim))]


@rule("HashTableV2", "MutableHashTableV2", "LookupTableSizeV2", "AnonymousHashTable")
def _table(operation: Operation) -> list[Fact]:
    # A table, and so its size, is the same for all rows.
    return [Fact(Kind.CONSTANT, ())]


@rule("Shape", accepts=ANY)
def _shape(operation: Operation) -> list[Fact]:
    # Only the sizes of the input are used.
    (fact,) = operation.inputs
    if fact.shape is None:
        return [Fact(Kind.CONSTANT) if fact.kind is Kind.CONSTANT else mixed(fact.reason)]
    value = tuple(dim if isinstance(dim, AtLeast) else size_of(dim) for dim in fact.shape)
    return [of_value(value, (Size(len(value)),), fact)]


@rule("Size", "Rank", accepts=ANY)
def _number_of_elements(operation: Operation) -> list[Fact]:
    # See above.
    (fact,) = operation.inputs
    if fact.shape is None:
        return [Fact(Kind.CONSTANT, ()) if fact.kind is Kind.CONSTANT else mixed(fact.reason, ())]
    if operation.node.op == "Rank":
        return [Fact(Kind.CONSTANT, (), (Size(len(fact.shape)),))]
    if any(isinstance(dim, AtLeast) for dim in fact.shape):
        return [mixed(fact.reason, ())]
    return [of_value((product(map(size_of, fact.dims)),), (), fact)]


@rule("Fill", accepts=ANY)
def _fill(operation: Operation) -> list[Fact]:
    # All elements are equal, so each row has its own.
    sizes, value = operation.inputs
    if value.kind is not Kind.CONSTANT:
        raise Mixes("the value depends on rows")
    if sizes.value is None and sizes.kind is Kind.CONSTANT:
        return [Fact(Kind.CONSTANT)]
    return [with_shape(dims_of(sizes.sizes), value.fill)]


@rule("Range", accepts=ANY)
def _range(operation: Operation) -> list[Fact]:
    # The numbers from 0 to the number of rows are the numbers of the rows.
    start, limit, step = operation.inputs
    if all(fact.kind is Kind.CONSTANT for fact in operation.inputs):
        if all(fact.value and fact.sizes[0].is_number for fact in operation.inputs):
            numbers = range(start.numbers[0], limit.numbers[0], step.numbers[0])
            value: tuple[Element, ...] | None = tuple(map(Size, numbers)) if len(numbers) <= _MAX_ELEMENTS else None
            return [Fact(Kind.CONSTANT, (Size(len(numbers)),), value)]
        return [Fact(Kind.CONSTANT, (operation.unknown_size(),))]
    (end,) = limit.sizes
    if start.numbers == [0] and step.numbers == [1]:
        (dim,) = dims_of([end])
        if isinstance(dim, Rows) and dim.is_plain:
            return [Fact(Kind.IDS, (dim,), of=dim)]
    raise Mixes("the numbers depend on the number of rows")


@rule("BroadcastTo", accepts=ANY)
def _broadcast_to(operation: Operation) -> list[Fact]:
    # An axis of one element is repeated; the axis of the rows stays where it is.
    fact, sizes = operation.inputs
    if fact.kind not in USUAL:
        raise Mixes("the input depends on other rows")
    target = list(sizes.sizes)
    old = [*[ONE] * (len(target) - fact.rank), *fact.dims]
    if len(old) != len(target):
        raise Mixes("the rank of the result is smaller")
    repeated = dims_of([ONE if size_of(a) == b else b for a, b in zip(old, target, strict=True)])
    if any(size_of(a) != b and a != ONE for a, b in zip(old, target, strict=True)):
        raise Mixes("the axis of the rows meets another axis")
    return [with_shape(a if size_of(a) == b else r for a, b, r in zip(old, target, repeated, strict=True))]


@rule("Tile", accepts=ANY)
def _tile(operation: Operation) -> list[Fact]:
    # A constant is repeated for each row, or each row for itself.
    fact, multiples = operation.inputs
    if fact.kind not in USUAL | {Kind.IDS}:
        raise Mixes("the input depends on other rows")
    if fact.kind is Kind.CONSTANT and multiples.kind is Kind.CONSTANT and multiples.value is None:
        return [Fact(Kind.CONSTANT)]
    dims = [_tiled(dim, times) for dim, times in zip(fact.dims, multiples.sizes, strict=True)]
    result = with_shape(dims, fact.fill)
    return [Fact(Kind.IDS, result.shape, of=fact.of) if fact.kind is Kind.IDS else result]


def _tiled(dim: Size | Rows, times: Size) -> Size | Rows:
    if times == ONE:
        return dim
    if not times.row_symbols:
        if isinstance(dim, Rows):
            return Rows(dim.before * times, dim.symbol, dim.after)
        return dim * times
    (repeated,) = dims_of([times])
    if isinstance(dim, Rows) or not isinstance(repeated, Rows) or not repeated.is_plain:
        raise Mixes("rows are repeated as often as there are rows")
    return Rows(ONE, repeated.symbol, dim)


@rule("Placeholder", "PlaceholderWithDefault")
def _placeholder(operation: Operation) -> list[Fact]:
    # A placeholder that is no input of the signature cannot be filled; one with a default has it.
    if operation.inputs:
        return [operation.inputs[0]]
    raise Mixes("it is no input of the signature")
