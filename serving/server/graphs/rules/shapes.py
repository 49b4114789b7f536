"""Operations that move, select and join elements; in the axis of the rows they keep the order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benison.serving.server.graphs.facts import (
    AtLeast,
    Element,
    Fact,
    Kind,
    Mixes,
    Shape,
    mixed,
    of_value,
    with_shape,
)
from benison.serving.server.graphs.operation import ANY, USUAL, Operation, axis_of, rule
from benison.serving.server.graphs.sizes import ONE, Dim, Rows, Size, reshaped, size_of

_NO_COLUMN = (-1, -1)
_NUMBERED = frozenset([Kind.IDS, Kind.PLACES])
_CARRIED = USUAL | {Kind.IDS, Kind.SIZE}


def _like(fact: Fact, dims: Sequence[Dim]) -> Fact:
    """Return the fact of the same elements in another shape."""
    if fact.kind is Kind.IDS:
        return Fact(Kind.IDS, with_shape(dims).shape, of=fact.of)
    if fact.kind is Kind.SIZE:
        return Fact(Kind.SIZE, tuple(dims), fact.value if len(dims) < 2 else None)
    result = with_shape(dims, fact.fill)
    return Fact(result.kind, result.shape, fact.value if len(dims) < 2 else None, result.fill, tag=fact.tag)


@rule("Reshape", accepts=ANY)
def _reshape(operation: Operation) -> list[Fact]:
    # Rows stay apart only if each row provably keeps its elements.
    fact, target = operation.inputs
    if fact.kind is Kind.PLACES:
        # [entries, 1]: the places in a vector are the numbers of its rows.
        if fact.dims[1] == ONE and target.value in ((Size(-1),), (size_of(fact.dims[0]),)):
            return [Fact(Kind.IDS, fact.dims[:1], of=fact.of)]
        raise Mixes("it takes places of entries apart")
    if fact.kind is Kind.MIXED:
        return [mixed(fact.reason, None, fact.value if fact.value and len(fact.value) == 1 else None)]
    if fact.kind is Kind.PADDED:
        raise Mixes("a size of an input depends on several rows")
    if fact.kind is Kind.CONSTANT and (fact.shape is None or target.value is None or None in target.value):
        return [Fact(Kind.CONSTANT)]
    dims = reshaped(fact.dims, target.sizes)
    if dims is None:
        if fact.kind is Kind.CONSTANT and Kind.CONSTANT is target.kind:
            return [Fact(Kind.CONSTANT)]
        raise Mixes("a row may not keep its elements")
    return [_like(fact, dims)]


@rule("EnsureShape", accepts=ANY)
def _ensure_shape(operation: Operation) -> list[Fact]:
    # A run fails unless the sizes are these. So each row has the padded size, if no row alone can have less.
    (fact,) = operation.inputs
    required = operation.node.attr["shape"].shape
    if required.unknown_rank:
        return [fact]
    sizes = [dim.size for dim in required.dim]
    if fact.kind is Kind.MIXED:
        return [fact]
    if fact.shape is None:
        if fact.kind is Kind.CONSTANT and -1 not in sizes:
            return [Fact(Kind.CONSTANT, tuple(map(Size, sizes)))]
        if fact.kind is Kind.ROWS and fact.of and sizes[:1] == [-1]:
            others = [Size(size) if size >= 0 else operation.unknown_size() for size in sizes[1:]]
            return [Fact(Kind.ROWS, (fact.of, *others))]
        return [fact]
    if len(sizes) != len(fact.shape):
        raise Mixes("the rank is another one")
    if any(size >= 0 and isinstance(dim, Rows) for dim, size in zip(fact.shape, sizes, strict=True)):
        raise Mixes("it refuses other numbers of rows")
    if any(isinstance(dim, AtLeast) and dim.number < size for dim, size in zip(fact.shape, sizes, strict=True)):
        raise Mixes("a row alone may have another size")
    dims: Shape = tuple(Size(size) if size >= 0 else dim for dim, size in zip(fact.shape, sizes, strict=True))
    if fact.kind is Kind.PADDED and not any(isinstance(dim, AtLeast) for dim in dims):
        return [Fact(Kind.ROWS, dims)]
    return [replace(fact, shape=dims)]


@rule("ExpandDims", accepts=_CARRIED)
def _expand(operation: Operation) -> list[Fact]:
    # A new axis of one element.
    fact = operation.inputs[0]
    axis = operation.axis(1, fact.rank + 1)
    return [_like(fact, (*fact.dims[:axis], ONE, *fact.dims[axis:]))]


@rule("Squeeze", accepts=_CARRIED | {Kind.PLACES})
def _squeeze(operation: Operation) -> list[Fact]:
    # Named axes of one element disappear, and never that of the rows; without names a run of one row would lose it.
    (fact,) = operation.inputs
    axes = {axis_of(axis, fact.rank) for axis in operation.integers("squeeze_dims")}
    if not axes and any(not size_of(dim).is_number for dim in fact.dims):
        raise Mixes("it removes the axis of the rows if there is one row")
    axes = axes or {axis for axis, dim in enumerate(fact.dims) if dim == ONE}
    if any(isinstance(fact.dims[axis], Rows) for axis in axes):
        raise Mixes("it removes the axis of the rows")
    dims = [dim for axis, dim in enumerate(fact.dims) if axis not in axes]
    if fact.kind is Kind.PLACES:
        return [Fact(Kind.IDS, tuple(dims), of=fact.of)]
    return [_like(fact, dims)]


@rule("Transpose")
def _transpose(operation: Operation) -> list[Fact]:
    # The axes change places.
    fact = operation.inputs[0]
    order = operation.inputs[1].numbers
    return [_like(Fact(fact.kind, fact.shape, fill=fact.fill), [fact.dims[axis] for axis in order])]


@rule("Pack", accepts=ANY)
def _pack(operation: Operation) -> list[Fact]:
    # The inputs lie along a new axis.
    inputs = operation.inputs
    if all(fact.shape == () for fact in inputs):
        value: list[Element] = [fact.value[0] if fact.value else None for fact in inputs]
        return [_of_numbers(value, inputs)]
    _refuse_foreign(inputs, USUAL | {Kind.IDS})
    shapes = {fact.dims for fact in inputs}
    if len(shapes) > 1:
        shapes = {_merged([fact.dims for fact in inputs])}
    (dims,) = shapes
    axis = axis_of(operation.integer("axis"), len(dims) + 1)
    packed = (*dims[:axis], Size(len(inputs)), *dims[axis:])
    if any(fact.kind is Kind.IDS for fact in inputs):
        return [_places(inputs, packed, axis == 1 and len(dims) == 1)]
    return [with_shape(packed)]


def _of_numbers(value: Sequence[Element], inputs: Sequence[Fact]) -> Fact:
    """Return the fact of a vector of numbers that come from several tensors."""
    worst = next((f for f in inputs if f.kind is Kind.MIXED), None)
    if worst is None:
        if all(fact.kind is Kind.CONSTANT for fact in inputs):
            known = all(element is not None for element in value)
            return Fact(Kind.CONSTANT, (Size(len(value)),), tuple(value) if known else None)
        worst = Fact(Kind.SIZE)
    return of_value(value, (Size(len(value)),), worst)


def _places(inputs: Sequence[Fact], dims: Sequence[Dim], is_columns: bool) -> Fact:
    first, *others = inputs
    if is_columns and first.kind in _NUMBERED and all(fact.kind not in _NUMBERED for fact in others):
        return Fact(Kind.PLACES, tuple(dims), of=first.of)
    raise Mixes("numbers of rows are used as values")


def _refuse_foreign(inputs: Sequence[Fact], kinds: frozenset[Kind]) -> None:
    """Refuse inputs of other kinds."""
    for fact in inputs:
        if fact.kind is Kind.MIXED:
            raise Mixes(fact.reason)
        if fact.kind not in kinds:
            raise Mixes("an input depends on the number of rows" if fact.kind is Kind.SIZE else fact.kind.value)


def _merged(shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """Return the one shape that these equal shapes have, where some do not know it."""
    if len({len(shape) for shape in shapes}) != 1:
        raise Mixes("the ranks differ")
    result: list[Dim] = []
    for dims in zip(*shapes, strict=True):
        rows = {dim for dim in dims if isinstance(dim, Rows)}
        numbers = {dim for dim in dims if not isinstance(dim, Rows)}
        if rows and (numbers or len(rows) > 1):
            raise Mixes("rows lie beside something else")
        known = {dim for dim in numbers if dim.is_number}
        result.append(rows.pop() if rows else next(iter(known or numbers)))
    return tuple(result)


@rule("ConcatV2", "Concat", accepts=ANY)
def _concat(operation: Operation) -> list[Fact]:
    # Beside the axis of the rows the rows stay apart; along it the inputs are blocks of all rows.
    *inputs, axis_fact = operation.inputs
    if operation.node.op == "Concat":
        axis_fact, *inputs = operation.inputs
    if all(fact.kind is Kind.CONSTANT for fact in inputs) and any(fact.shape is None for fact in inputs):
        return [Fact(Kind.CONSTANT)]
    if all(fact.shape is not None and len(fact.shape) == 1 for fact in inputs) and any(f.value for f in inputs):
        value: list[Element] = []
        for fact in inputs:
            if fact.value is None and (fact.rank != 1 or fact.dims[0] != Size(0)):
                break
            value += fact.value or ()
        else:
            return [_of_numbers(value, inputs)]
    _refuse_foreign(inputs, USUAL | _NUMBERED)
    axis = axis_of(axis_fact.numbers[0], inputs[0].rank)
    others = _merged([(*fact.dims[:axis], *fact.dims[axis + 1 :]) for fact in inputs])
    dims = (*others[:axis], _joined([fact.dims[axis] for fact in inputs], operation), *others[axis:])
    if any(fact.kind in _NUMBERED for fact in inputs):
        is_column = axis == 1 and len(dims) == 2 and (inputs[0].kind is Kind.PLACES or inputs[0].dims[1] == ONE)
        return [_places(inputs, dims, is_column)]
    return [with_shape(dims)]


def _joined(dims: Sequence[Dim], operation: Operation) -> Dim:
    if len(dims) == 1:
        return dims[0]
    rows = [dim for dim in dims if isinstance(dim, Rows)]
    if rows:
        blocks = [dim.before for dim in rows]
        if len(rows) < len(dims) or len({(r.symbol, r.after) for r in rows}) > 1:
            raise Mixes("rows lie before something else")
        if not all(block.is_number for block in blocks):
            raise Mixes("the number of blocks is unknown")
        return Rows(Size(sum(block.number for block in blocks)), rows[0].symbol, rows[0].after)
    sizes = [dim for dim in dims if isinstance(dim, Size)]
    if all(size.is_number for size in sizes):
        return Size(sum(size.number for size in sizes))
    return operation.unknown_size()


@rule("Split", accepts=_CARRIED)
def _split(operation: Operation) -> list[Fact]:
    # Equal parts of an axis; along the rows, a part must consist of whole blocks.
    axis_fact, fact = operation.inputs
    if fact.kind is Kind.SIZE:
        return [Fact(Kind.SIZE)] * operation.outputs
    axis = axis_of(axis_fact.numbers[0], fact.rank)
    parts = Size(operation.outputs)
    dim = fact.dims[axis]
    part: Dim | None
    if isinstance(dim, Rows):
        blocks = dim.before.over(parts)
        part = Rows(blocks, dim.symbol, dim.after) if blocks else None
    else:
        part = dim.over(parts)
        part = operation.unknown_size() if part is None and not dim.is_number else part
    if part is None:
        raise Mixes("it splits the rows")
    return [_like(Fact(fact.kind, fact.shape, of=fact.of), _replaced(fact.dims, axis, part))] * operation.outputs


def _replaced(dims: tuple[Dim, ...], axis: int, dim: Dim) -> tuple[Dim, ...]:
    return (*dims[:axis], dim, *dims[axis + 1 :])


@rule("SplitV")
def _split_by_sizes(operation: Operation) -> list[Fact]:
    # Parts of an axis other than that of the rows.
    fact, sizes, axis_fact = operation.inputs
    axis = axis_of(axis_fact.numbers[0], fact.rank)
    if fact.row_axis == axis:
        raise Mixes("it splits the rows")
    known = [Size(size) if size >= 0 else operation.unknown_size() for size in sizes.numbers]
    return [with_shape(_replaced(fact.dims, axis, size)) for size in known]


@rule("Unpack", accepts=_CARRIED)
def _unpack(operation: Operation) -> list[Fact]:
    # Parts of an axis other than that of the rows.
    (fact,) = operation.inputs
    if fact.value is not None and len(fact.value) == operation.outputs:
        return [of_value((element,), (), fact) for element in fact.value]
    axis = axis_of(operation.integer("axis"), fact.rank)
    if fact.row_axis == axis:
        raise Mixes("it takes the rows apart")
    part = _like(Fact(fact.kind, fact.shape, of=fact.of), (*fact.dims[:axis], *fact.dims[axis + 1 :]))
    return [part] * operation.outputs


@rule("Slice", accepts=ANY)
def _slice(operation: Operation) -> list[Fact]:
    # The axis of the rows stays whole.
    fact, begin, size = operation.inputs
    if fact.value is not None and fact.shape is not None and len(fact.shape) == 1:
        (start,), (length,) = begin.numbers, size.numbers
        value = fact.value[start:] if length < 0 else fact.value[start : start + length]
        return [of_value(value, (Size(len(value)),), fact)]
    _refuse_foreign([fact], USUAL)
    dims: list[Dim] = []
    for dim, first, count in zip(fact.dims, begin.numbers, size.sizes, strict=True):
        whole = first == 0 and count in (Size(-1), size_of(dim))
        if whole:
            dims.append(dim)
        elif isinstance(dim, Rows) or not count.is_number:
            raise Mixes("it selects rows")
        elif count.number >= 0:
            dims.append(count)
        else:
            dims.append(Size(dim.number - first) if dim.is_number else operation.unknown_size())
    return [with_shape(dims, fact.fill)]


@rule("StridedSlice", accepts=ANY)
def _strided_slice(operation: Operation) -> list[Fact]:
    # The axis of the rows stays whole.
    fact, begin, end, strides = operation.inputs
    if fact.kind is Kind.MIXED and fact.value is None:
        return [mixed(fact.reason)]
    if fact.kind is Kind.PADDED:
        raise Mixes("a size of an input depends on several rows")
    masks = [operation.integer(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")]
    starts, ends, steps = begin.numbers, end.value or (), strides.numbers
    if len(ends) != len(starts):
        raise Mixes("the ends of the selection are unknown")
    if fact.value is not None and fact.rank == 1 and len(starts) == 1 and not masks[2] and not masks[3]:
        return [_selected_numbers(fact, starts[0], ends[0], steps[0], masks)]
    if fact.kind is Kind.SIZE:
        return [Fact(Kind.SIZE)]
    return [_selected(operation, fact, starts, ends, steps, masks)]


def _selected_numbers(fact: Fact, start: int, end: Element, step: int, masks: Sequence[int]) -> Fact:
    assert fact.value is not None
    if masks[4] & 1:
        if not -len(fact.value) <= start < len(fact.value):
            raise Mixes("there is no such element")
        return of_value((fact.value[start],), (), fact)
    if not masks[1] & 1 and not (isinstance(end, Size) and end.is_number):
        raise Mixes("the end of the selection is unknown")
    stop = None if masks[1] & 1 or not isinstance(end, Size) else end.number
    value = fact.value[slice(None if masks[0] & 1 else start, stop, step)]
    return of_value(value, (Size(len(value)),), fact)


def _selected(
    operation: Operation,
    fact: Fact,
    starts: Sequence[int],
    ends: Sequence[Element],
    steps: Sequence[int],
    masks: Sequence[int],
) -> Fact:
    begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_mask = masks
    dims: list[Dim] = []
    remaining = list(fact.dims)
    columns: list[tuple[int, int]] = []  # of PLACES: what is selected of the second axis
    for position, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        bit = 1 << position
        if ellipsis_mask & bit:
            later = sum(not new_axis_mask & (1 << p) for p in range(position + 1, len(starts)))
            count = len(remaining) - later
            dims += remaining[:count]
            del remaining[:count]
            continue
        if new_axis_mask & bit:
            dims.append(ONE)
            continue
        if not remaining:
            raise Mixes("an axis does not exist")
        dim = remaining.pop(0)
        is_second = len(fact.dims) - len(remaining) == 2
        if shrink_mask & bit:
            if isinstance(dim, Rows):
                raise Mixes("it selects one row for all")
            columns += [(start, start + 1)] if is_second else []
            continue
        from_start = bool(begin_mask & bit) or start == 0
        to_end = bool(end_mask & bit) or end == size_of(dim)
        if from_start and to_end and step == 1:
            dims.append(dim)
            continue
        if isinstance(dim, Rows):
            raise Mixes("it selects rows")
        number = end.number if isinstance(end, Size) and end.is_number else None
        if dim.is_number and (number is not None or end_mask & bit):
            bounds = slice(None if begin_mask & bit else start, None if end_mask & bit else number, step)
            chosen = range(dim.number)[bounds]
            dims.append(Size(len(chosen)))
            columns += [(chosen[0], chosen[-1] + 1)] if is_second and chosen and step == 1 else [_NO_COLUMN]
        else:
            if number is None and not end_mask & bit:
                raise Mixes("the end of the selection is unknown")
            dims.append(operation.unknown_size())
            columns.append(_NO_COLUMN)
    dims += remaining
    return _kept_columns(fact, dims, columns)


def _kept_columns(fact: Fact, dims: Sequence[Dim], columns: Sequence[tuple[int, int]]) -> Fact:
    """Return the fact of a selection; of places, the first column has the numbers of rows."""
    if fact.kind is Kind.IDS:
        return Fact(Kind.IDS, with_shape(dims).shape, of=fact.of)
    if fact.kind is not Kind.PLACES:
        return with_shape(dims, fact.fill)
    if not columns:
        if len(dims) == 2:
            return Fact(Kind.PLACES, tuple(dims), of=fact.of)
        raise Mixes("it takes places of entries apart")
    (first, end), *more = columns
    if more or first < 0:
        raise Mixes("it takes places of entries apart")
    if first == 0:
        if end != 1:
            raise Mixes("it takes places of entries apart")
        return Fact(Kind.IDS, with_shape(dims).shape, of=fact.of)
    return with_shape(dims)


@rule("Pad", "PadV2", "MirrorPad", accepts=USUAL)
def _pad(operation: Operation) -> list[Fact]:
    # Constants beside the rows, or mirrored elements of the same row.
    fact, paddings, *values = operation.inputs
    if any(value.kind is not Kind.CONSTANT for value in values) or paddings.kind is not Kind.CONSTANT:
        raise Mixes("what is added depends on rows")
    if fact.kind is Kind.CONSTANT:
        return [Fact(Kind.CONSTANT)]
    if paddings.matrix is None:
        raise Mixes("the paddings are not a known constant")
    dims: list[Dim] = []
    for dim, (before, after) in zip(fact.dims, paddings.matrix, strict=True):
        if before == after == 0:
            dims.append(dim)
        elif isinstance(dim, Rows):
            raise Mixes("it adds rows")
        else:
            dims.append(Size(dim.number + before + after) if dim.is_number else operation.unknown_size())
    return [with_shape(dims)]


@rule("ReverseV2", "Cumsum", "Cumprod")
def _along_an_axis(operation: Operation) -> list[Fact]:
    # Within a row, if the axis is another one than that of the rows.
    fact, axes = operation.inputs
    if any(axis_of(axis, fact.rank) == fact.row_axis for axis in axes.numbers):
        raise Mixes("it goes along the rows")
    return [with_shape(fact.dims)]


@rule("GatherV2", accepts=ANY)
def _gather(operation: Operation) -> list[Fact]:
    # Elements of a constant for each row, or elements of each row, or rows by their own number.
    values, ids, axis_fact = operation.inputs
    if values.kind is Kind.CONSTANT and ids.kind is Kind.CONSTANT and values.shape is None:
        return [Fact(Kind.CONSTANT)]
    if values.value is not None and values.shape is not None and len(values.shape) == 1 and ids.value is not None:
        element: list[Element] = [values.value[number] for number in ids.numbers]
        return [of_value(element, ids.dims, values)]
    if ids.kind is Kind.IDS:
        return [_rows_by_number(values, ids, axis_fact, operation.integer("batch_dims"))]
    _refuse_foreign([values, ids], USUAL)
    axis = axis_of(axis_fact.numbers[0], values.rank)
    batch = (
        operation.integer("batch_dims") % (ids.rank + 1)
        if operation.integer("batch_dims") < 0
        else operation.integer("batch_dims")
    )
    return [gathered(values, ids, axis, batch)]


def gathered(values: Fact, ids: Fact, axis: int, batch: int = 0) -> Fact:
    """Return the fact of elements that are selected along an axis.

    Args:
        values: what is selected from.
        ids: numbers of elements.
        axis: the axis of `values`.
        batch: the number of first axes that both have.
    """
    if batch > axis or batch > ids.rank:
        raise Mixes("its axes do not fit")
    if values.row_axis is not None and values.row_axis == axis:
        raise Mixes("it selects rows")
    shared = _merged([values.dims[:batch], ids.dims[:batch]])
    if values.row_axis is not None and ids.row_axis is not None and not any(isinstance(d, Rows) for d in shared):
        raise Mixes("every row meets every other row")
    return with_shape((*shared, *values.dims[batch:axis], *ids.dims[batch:], *values.dims[axis + 1 :]))


def _rows_by_number(values: Fact, ids: Fact, axis_fact: Fact, batch: int) -> Fact:
    if values.kind not in (Kind.ROWS, Kind.IDS, Kind.PLACES) or batch or axis_fact.numbers != [0]:
        raise Mixes("numbers of rows are used as values")
    if ids.of is None or values.dims[0] != ids.of or not ids.of.is_plain:
        raise Mixes("it selects rows of something else")
    dims = with_shape((*ids.dims, *values.dims[1:])).shape
    if values.kind is not Kind.ROWS and ids.rank != 1:
        raise Mixes("it takes places of entries apart")
    return Fact(values.kind, dims, of=values.of)


@rule("ResourceGather")
def _gather_from_variable(operation: Operation) -> list[Fact]:
    # Elements of a variable for each row.
    handle, ids = operation.inputs
    if handle.inner is None or operation.integer("batch_dims"):
        raise Mixes("the variable is unknown")
    return [gathered(handle.inner, ids, 0)]
