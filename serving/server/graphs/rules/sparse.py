"""Operations that select elements, whose number is known only in a run. Each takes the number of its row along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benison.serving.server.graphs.facts import AtLeast, Element, Fact, Kind, Mixes, dims_of, of_value, with_shape
from benison.serving.server.graphs.operation import ANY, Operation, rule
from benison.serving.server.graphs.sizes import Dim, Rows, Size, product, size_of

_TRUE = True


def _places(entries: Rows, columns: int, of: Rows) -> Fact:
    return Fact(Kind.PLACES, (entries, Size(columns)), of=of)


@rule("Where")
def _where(operation: Operation) -> list[Fact]:
    # The places of a row's true elements depend on this row only, and come in the order of the rows.
    (fact,) = operation.inputs
    if fact.kind is Kind.CONSTANT:
        return [Fact(Kind.CONSTANT, (operation.unknown_size(), Size(fact.rank)))]
    rows = fact.dims[0]
    if not isinstance(rows, Rows) or not rows.is_plain:
        raise Mixes("the rows are not along the first axis")
    if fact.fill is _TRUE:  # then these are the places of all elements
        every = Rows(symbol=rows.symbol, after=product(map(size_of, fact.dims[1:])))
        return [_places(every, fact.rank, rows)]
    return [_places(operation.symbols.entries(fact.tag), fact.rank, rows)]


@rule("GatherNd", accepts=ANY)
def _gather_places(operation: Operation) -> list[Fact]:
    # Elements of a constant, or the elements of each entry's own row.
    values, places = operation.inputs
    if places.kind is Kind.PLACES and values.kind is Kind.ROWS:
        columns = size_of(places.dims[1])
        if values.dims[0] != places.of or not columns.is_number:
            raise Mixes("it selects rows of something else")
        return [with_shape((places.dims[0], *values.dims[columns.number :]))]
    if values.kind is not Kind.CONSTANT or places.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixes(values.reason or places.reason or "it selects rows")
    *dims, last = places.dims
    if isinstance(last, Rows) or not last.is_number:
        raise Mixes("the number of columns is unknown")
    return [with_shape((*dims, *values.dims[last.number :]))]


@rule("SparseToDense", "ScatterNd", accepts=ANY)
def _dense(operation: Operation) -> list[Fact]:
    # Each entry goes to its own row; what is empty is a constant.
    if operation.node.op == "ScatterNd":
        places, values, shape = operation.inputs
        default = Fact(Kind.CONSTANT, ())
    else:
        places, shape, values, default = operation.inputs
    if all(fact.kind is Kind.CONSTANT for fact in operation.inputs):
        known = shape.value is not None and all(isinstance(element, Size) for element in shape.value)
        return [with_shape(dims_of(shape.sizes)) if known else Fact(Kind.CONSTANT)]
    if places.kind is not Kind.PLACES or places.of is None or shape.value is None:
        raise Mixes(places.reason or "the rows of its entries are unknown")
    if default.kind is not Kind.CONSTANT or values.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixes(values.reason or default.reason or "a value depends on several rows")
    if values.dims and values.dims[0] != places.dims[0]:
        raise Mixes("the values are not those of the entries")
    if values.dims == () and operation.node.op == "ScatterNd":
        raise Mixes("the values are not those of the entries")
    first, *others = shape.value
    if first != places.of.size:
        raise Mixes("the result has another number of rows")
    dims: list[Dim | AtLeast] = [places.of]
    for element in others:
        if isinstance(element, Size) and not element.row_symbols:
            dims.append(element)
        elif element is None or isinstance(element, AtLeast):
            dims.append(element or AtLeast(0))
        else:
            raise Mixes("the result has the rows twice")
    return [_padded(dims)]


@rule("SparseConcat", accepts=ANY)
def _sparse_concat(operation: Operation) -> list[Fact]:
    # One below the other: blocks of all rows.
    count = operation.integer("N")
    places, values, shapes = (operation.inputs[start : start + count] for start in (0, count, 2 * count))
    if operation.integer("concat_dim") != 0:
        raise Mixes("it joins rows beside each other")
    blocks = Size(0)
    for place, value, shape in zip(places, values, shapes, strict=True):
        if place.kind is not Kind.PLACES or value.kind is not Kind.ROWS or place.of is None or shape.value is None:
            raise Mixes(place.reason or value.reason or "the rows of its entries are unknown")
        if value.dims != place.dims[:1] or shape.value[0] != place.of.size or place.of.symbol != places[0].of.symbol:  # type: ignore[union-attr]
            raise Mixes("the values are not those of the entries")
        if place.of.after != Size(1) or not place.of.before.is_number or shape.value[1:] != shapes[0].value[1:]:  # type: ignore[index]
            raise Mixes("the shapes differ")
        blocks = Size(blocks.number + place.of.before.number)
    of = Rows(blocks, places[0].of.symbol)  # type: ignore[union-attr]
    entries = operation.symbols.entries()
    sizes: tuple[Element, ...] = (of.size, *shapes[0].value[1:])  # type: ignore[index]
    return [
        _places(entries, len(sizes), of),
        Fact(Kind.ROWS, (entries,)),
        of_value(sizes, (Size(len(sizes)),), operation.mixes("a size depends on several rows")),
    ]


@rule("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", accepts=ANY)
def _segments(operation: Operation) -> list[Fact]:
    # The entries of each row are combined.
    values, ids, count = operation.inputs
    if values.kind is not Kind.ROWS or ids.kind is not Kind.IDS or ids.of is None:
        raise Mixes(values.reason or ids.reason or "the rows of its values are unknown")
    if values.dims[: ids.rank] != ids.dims or count.value != (ids.of.size,):
        raise Mixes("the numbers are not those of the rows")
    return [with_shape((ids.of, *values.dims[ids.rank :]))]


@rule("ParseExample", "ParseExampleV2")
def _parse_examples(operation: Operation) -> list[Fact]:
    # Each text is a row; sparse values have the numbers of their rows.
    serialized = operation.inputs[0]
    if serialized.rank != 1 or any(fact.kind is not Kind.CONSTANT for fact in operation.inputs[1:]):
        raise Mixes("a default value depends on rows")
    rows = serialized.dims[0]
    if not isinstance(rows, Rows) or not rows.is_plain:
        raise Mixes("the texts are not the rows")
    attributes = operation.node.attr
    indices, values, shapes = [], [], []
    for _ in range(operation.integer("Nsparse" if operation.node.op == "ParseExample" else "num_sparse")):
        entries = operation.symbols.entries()
        indices.append(_places(entries, 2, rows))
        values.append(Fact(Kind.ROWS, (entries,)))
        shapes.append(_width_of(operation, rows))
    dense: list[Fact] = []
    for shape in attributes["dense_shapes"].list.shape:
        sizes = [dim.size for dim in shape.dim]
        dense.append(_padded([rows, *(Size(size) if size >= 0 else AtLeast(0) for size in sizes)]))
    ragged = operation.outputs - 3 * len(indices) - len(dense)
    unknown = operation.mixes("a ragged column")
    return [*indices, *values, *shapes, *dense, *[unknown] * ragged]


def _padded(dims: Sequence[Dim | AtLeast]) -> Fact:
    is_padded = any(isinstance(dim, AtLeast) for dim in dims)
    return Fact(Kind.PADDED if is_padded else Kind.ROWS, tuple(dims))


def _width_of(operation: Operation, rows: Rows) -> Fact:
    """Return the fact of a sparse tensor's shape: its width is that of the longest row."""
    return replace(operation.mixes("the width of the longest row", (Size(2),)), value=(rows.size, AtLeast(0)))


@rule("StringSplitV2")
def _split_texts(operation: Operation) -> list[Fact]:
    # The parts of each text have its number.
    texts, separator = operation.inputs
    rows = texts.dims[0] if texts.rank == 1 else None
    if separator.kind is not Kind.CONSTANT or not isinstance(rows, Rows):
        raise Mixes("the texts are not a vector")
    entries = operation.symbols.entries()
    return [_places(entries, 2, rows), Fact(Kind.ROWS, (entries,)), _width_of(operation, rows)]
