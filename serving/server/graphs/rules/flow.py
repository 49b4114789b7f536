"""Calls of functions, branches, loops and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benison.serving.server.graphs.facts import AtLeast, Fact, Kind, Mixes, dims_of, mixed
from benison.serving.server.graphs.operation import ANY, EVERY, SPECIAL, USUAL, Operation, rule
from benison.serving.server.graphs.sizes import Dim, Rows, Size

_WITH_LISTS = USUAL | {Kind.LIST}
_MAX_STEPS = 8  # until the facts of a loop must agree


@rule("PartitionedCall", "StatefulPartitionedCall", accepts=EVERY)
def _call(operation: Operation) -> list[Fact]:
    # As its body.
    return operation.call(operation.node.attr["f"].func.name, operation.inputs)


@rule("If", "StatelessIf", "Case", "StatelessCase", accepts=EVERY)
def _branch(operation: Operation) -> list[Fact]:
    # The same branch for all rows; either of them must keep the rows apart.
    condition, *arguments = operation.inputs
    if condition.kind is not Kind.CONSTANT or condition.shape != ():
        raise Mixes(condition.reason or "one branch is taken for all rows, and it depends on them")
    attributes = operation.node.attr
    if "branches" in attributes:
        names = [function.name for function in attributes["branches"].list.func]
    else:
        names = [attributes[name].func.name for name in ("then_branch", "else_branch")]
    results = [operation.call(name, arguments) for name in names]
    return [_either(facts) for facts in zip(*results, strict=True)]


def _either(facts: Sequence[Fact]) -> Fact:
    result = facts[0]
    for fact in facts[1:]:
        result = join(result, fact)
    return result


@rule("While", "StatelessWhile", accepts=EVERY)
def _loop(operation: Operation) -> list[Fact]:
    # The same number of steps for all rows; a step must keep the rows apart, whatever the steps before it did. Or a
    # step for each row.
    attributes = operation.node.attr
    state = list(operation.inputs)
    for _ in range(_MAX_STEPS):
        (condition,) = operation.call(attributes["cond"].func.name, state)
        if condition.kind is not Kind.CONSTANT:
            return _over_rows(operation, condition.reason)
        after = operation.call(attributes["body"].func.name, state)
        joined = [join(old, new) for old, new in zip(state, after, strict=True)]
        if joined == state:
            return state
        state = joined
    raise Mixes("its steps do not agree")


def _over_rows(operation: Operation, reason: str) -> list[Fact]:
    """Return the facts of a loop with one step for each row, as `tf.map_fn` makes it.

    Counters begin at 0 and grow by 1 while they are less than the number of rows; lists are read and written only at
    the place of the step's row. Nothing else changes from step to step: what is carried has a tag, which only an equal
    tensor has.
    """
    if any(fact.kind in SPECIAL and fact.kind is not Kind.ROW_LIST for fact in operation.inputs):
        raise Mixes("a loop over the rows within another one")
    attributes = operation.node.attr
    begin, one_later = (Fact(Kind.STEP, (), (Size(number),)) for number in (0, 1))
    zero = Fact(Kind.CONSTANT, (), (Size(0),))
    state = [begin if fact == zero else _tagged(operation, fact) for fact in operation.inputs]
    for _ in range(_MAX_STEPS):
        after = operation.call(attributes["body"].func.name, state)
        # A 0 that stays one is no counter, and a list that is written is filled.
        stays = [zero if old == new == begin else old for old, new in zip(state, after, strict=True)]
        next_state = [new if _is_filled(old, new) else old for old, new in zip(stays, after, strict=True)]
        if next_state == state:
            break
        state = next_state
    else:
        raise Mixes("its steps do not agree")
    (condition,) = operation.call(attributes["cond"].func.name, state)
    of = condition.of
    if condition.kind is not Kind.RUNNING or of is None:
        raise Mixes(reason or condition.reason or "the number of steps depends on the rows")
    if after != [one_later if fact == begin else fact for fact in state]:
        raise Mixes("a step for a row depends on the steps before")
    if any(fact.kind is Kind.ROW_LIST and fact.of != of for fact in state):
        raise Mixes("it takes rows of something else")
    return [Fact(Kind.SIZE, (), (of.size,)) if fact == begin else fact for fact in state]


def _tagged(operation: Operation, fact: Fact) -> Fact:
    is_list = fact.kind is Kind.ROW_LIST
    return fact if is_list or fact.tag else replace(fact, tag=operation.symbols.tag())


def _is_filled(old: Fact, new: Fact) -> bool:
    return old.kind is new.kind is Kind.ROW_LIST and old.inner is None


def join(a: Fact, b: Fact) -> Fact:
    """Return what is true of a tensor that is one or the other."""
    if a == b:
        return a
    for fact in (a, b):
        if fact.kind is Kind.MIXED:
            return mixed(fact.reason)
    if a.kind is not b.kind or a.of != b.of:
        raise Mixes("a result is rows or something else, as a branch or a loop decides")
    inner = a.inner
    if a.inner != b.inner:
        inner = join(a.inner, b.inner) if a.inner and b.inner else a.inner or b.inner
    shape: tuple[Dim | AtLeast, ...] | None = a.shape
    if a.shape != b.shape:
        if a.kind is not Kind.CONSTANT:
            raise Mixes("the sizes differ between branches or steps")
        shape = None
    keep = a.value == b.value
    return replace(
        a, shape=shape, value=a.value if keep else None, fill=a.fill if a.fill == b.fill else None,
        matrix=a.matrix if a.matrix == b.matrix else None, inner=inner, tag=a.tag if a.tag == b.tag else 0,
    )  # fmt: skip


@rule("TensorListReserve", accepts=ANY)
def _reserved_list(operation: Operation) -> list[Fact]:
    # A list of as many tensors in every run, or with one for each row.
    _, count = operation.inputs
    if count.kind is Kind.CONSTANT:
        return [Fact(Kind.LIST, ())]
    (rows,) = dims_of(count.sizes)
    if not isinstance(rows, Rows) or not rows.is_plain:
        raise Mixes("it makes a list of another number of tensors")
    return [Fact(Kind.ROW_LIST, (), of=rows)]


@rule("EmptyTensorList")
def _new_list(operation: Operation) -> list[Fact]:
    # See above.
    return [Fact(Kind.LIST, ())]


@rule("TensorListFromTensor")
def _list_of_parts(operation: Operation) -> list[Fact]:
    # The parts along the first axis: constants, or rows.
    fact = operation.inputs[0]
    rows = fact.dims[0]
    if isinstance(rows, Rows):
        if not rows.is_plain:
            raise Mixes("it makes a list of parts of rows")
        return [Fact(Kind.ROW_LIST, (), of=rows, inner=Fact(Kind.PART))]
    return [Fact(Kind.LIST, (), inner=Fact(fact.kind, fact.dims[1:]))]


def _check_step(place: Fact) -> None:
    """Refuse another place in a list of rows than that of the step's row."""
    if place != Fact(Kind.STEP, (), (Size(0),)):
        raise Mixes("it takes a row out of a list, and not in the order of the rows")


@rule("TensorListSetItem", "TensorListPushBack", accepts=EVERY)
def _put(operation: Operation) -> list[Fact]:
    # All tensors of a list are alike; their number is the same in every run, or the place is that of the step's row.
    tensors = operation.inputs[0]
    if tensors.kind is Kind.ROW_LIST and operation.node.op == "TensorListSetItem":
        _check_step(operation.inputs[1])
        if operation.inputs[2].kind not in (Kind.PART, Kind.CONSTANT):
            raise Mixes("what a step makes of a row depends on other rows")
        return [replace(tensors, inner=Fact(Kind.PART))]
    item = operation.inputs[2 if operation.node.op == "TensorListSetItem" else 1]
    if tensors.kind is not Kind.LIST or item.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixes("a tensor of a list depends on the number of rows")
    if operation.node.op == "TensorListSetItem" and operation.inputs[1].kind is not Kind.CONSTANT:
        raise Mixes("a place in a list depends on rows")
    item = replace(item, value=None, fill=None, matrix=None, tag=0)
    joined = join(tensors.inner, item) if tensors.inner else item
    return [Fact(Kind.LIST, (), inner=joined)]


@rule("TensorListGetItem", accepts=EVERY)
def _take(operation: Operation) -> list[Fact]:
    # See above.
    tensors, place, _ = operation.inputs
    if tensors.kind is Kind.ROW_LIST and tensors.inner:
        _check_step(place)
        return [tensors.inner]
    if tensors.kind is not Kind.LIST or place.kind is not Kind.CONSTANT or tensors.inner is None:
        raise Mixes("a tensor of a list is unknown")
    return [tensors.inner]


@rule("TensorListStack", accepts=_WITH_LISTS | {Kind.ROW_LIST})
def _stack(operation: Operation) -> list[Fact]:
    # See above. All tensors must have equal sizes, so those of a row are its own.
    tensors, shape = operation.inputs
    if tensors.inner is None:
        raise Mixes("a tensor of a list is unknown")
    if tensors.kind is Kind.ROW_LIST and tensors.of:
        if shape.value is None or shape.shape == ():
            return [Fact(Kind.ROWS, of=tensors.of)]
        sizes = (Size(size) if size >= 0 else operation.unknown_size() for size in shape.numbers)
        return [Fact(Kind.ROWS, (tensors.of, *sizes))]
    number = operation.integer("num_elements")
    size = Size(number) if number >= 0 else operation.unknown_size()
    return [Fact(tensors.inner.kind, (size, *tensors.inner.dims))]


@rule("TensorListLength", accepts=_WITH_LISTS)
def _length(operation: Operation) -> list[Fact]:
    # The same in every run.
    return [Fact(Kind.CONSTANT, ())]
