"""Calls of functions, branches, loops and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benison.serving.server.graphs.facts import AtLeast, Fact, Kind, Mixes, mixed
from benison.serving.server.graphs.operation import ANY, USUAL, Operation, rule
from benison.serving.server.graphs.sizes import Dim, Size

_WITH_LISTS = USUAL | {Kind.LIST}
_MAX_STEPS = 8  # until the facts of a loop must agree


@rule("PartitionedCall", "StatefulPartitionedCall", accepts=ANY)
def _call(operation: Operation) -> list[Fact]:
    # As its body.
    return operation.call(operation.node.attr["f"].func.name, operation.inputs)


@rule("If", "StatelessIf", "Case", "StatelessCase", accepts=ANY)
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


@rule("While", "StatelessWhile", accepts=ANY)
def _loop(operation: Operation) -> list[Fact]:
    # The same number of steps for all rows; a step must keep the rows apart, whatever the steps before it did.
    attributes = operation.node.attr
    state = list(operation.inputs)
    for _ in range(_MAX_STEPS):
        (condition,) = operation.call(attributes["cond"].func.name, state)
        if condition.kind is not Kind.CONSTANT:
            raise Mixes(condition.reason or "the number of steps depends on the number of rows")
        after = operation.call(attributes["body"].func.name, state)
        joined = [join(old, new) for old, new in zip(state, after, strict=True)]
        if joined == state:
            return state
        state = joined
    raise Mixes("its steps do not agree")


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
        matrix=a.matrix if a.matrix == b.matrix else None, inner=inner,
    )  # fmt: skip


@rule("TensorListReserve", "EmptyTensorList")
def _new_list(operation: Operation) -> list[Fact]:
    # A list of as many tensors in every run.
    return [Fact(Kind.LIST, ())]


@rule("TensorListFromTensor")
def _list_of_parts(operation: Operation) -> list[Fact]:
    # The parts along the first axis, which is not that of the rows.
    fact = operation.inputs[0]
    if fact.row_axis == 0 or not fact.dims:
        raise Mixes("it makes a list of the rows")
    return [Fact(Kind.LIST, (), inner=Fact(fact.kind, fact.dims[1:]))]


@rule("TensorListSetItem", "TensorListPushBack", accepts=ANY)
def _put(operation: Operation) -> list[Fact]:
    # All tensors of a list are alike; their number is the same in every run.
    tensors = operation.inputs[0]
    item = operation.inputs[2 if operation.node.op == "TensorListSetItem" else 1]
    if tensors.kind is not Kind.LIST or item.kind not in (Kind.CONSTANT, Kind.ROWS):
        raise Mixes("a tensor of a list depends on the number of rows")
    if operation.node.op == "TensorListSetItem" and operation.inputs[1].kind is not Kind.CONSTANT:
        raise Mixes("a place in a list depends on rows")
    item = replace(item, value=None, fill=None, matrix=None)
    joined = join(tensors.inner, item) if tensors.inner else item
    return [Fact(Kind.LIST, (), inner=joined)]


@rule("TensorListGetItem", accepts=_WITH_LISTS)
def _take(operation: Operation) -> list[Fact]:
    # See above.
    tensors, place, _ = operation.inputs
    if tensors.kind is not Kind.LIST or place.kind is not Kind.CONSTANT or tensors.inner is None:
        raise Mixes("a tensor of a list is unknown")
    return [tensors.inner]


@rule("TensorListStack", accepts=_WITH_LISTS)
def _stack(operation: Operation) -> list[Fact]:
    # See above.
    tensors = operation.inputs[0]
    if tensors.inner is None:
        raise Mixes("a tensor of a list is unknown")
    number = operation.integer("num_elements")
    size = Size(number) if number >= 0 else operation.unknown_size()
    return [Fact(tensors.inner.kind, (size, *tensors.inner.dims))]


@rule("TensorListLength", accepts=_WITH_LISTS)
def _length(operation: Operation) -> list[Fact]:
    # The same in every run.
    return [Fact(Kind.CONSTANT, ())]
