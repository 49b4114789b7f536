"""Operations that compute each element from the elements at the same place."""

from __future__ import annotations

from collections.abc import Sequence

from benison.serving.server.graphs.facts import (
    AtLeast,
    Element,
    Fact,
    Kind,
    Mixes,
    broadcast,
    dims_of,
    mixed,
    of_value,
    with_shape,
)
from benison.serving.server.graphs.operation import ANY, EVERY, SPECIAL, USUAL, Operation, names, rule
from benison.serving.server.graphs.sizes import Rows, Size

_ONE_TO_ONE = names(
    "Abs Acos Acosh AsString Asin Asinh Atan Atanh Bucketize Ceil CheckNumerics ComplexAbs Conj Cos Cosh DecodeBase64 "
    "Digamma Elu EncodeBase64 Erf Erfc Erfinv Exp Expm1 FakeQuantWithMinMaxArgs Floor Imag Inv Invert IsFinite IsInf "
    "IsNan LeakyRelu Lgamma Log Log1p LogicalNot Ndtri Neg PreventGradient Real Reciprocal Relu Relu6 Rint Round "
    "Rsqrt Selu Sigmoid Sign Sin Sinh Snapshot Softplus Softsign Sqrt Square StaticRegexFullMatch StaticRegexReplace "
    "StringLength StringLower StringStrip StringToHashBucket StringToHashBucketFast StringToHashBucketStrong "
    "StringToNumber StringUpper Tan Tanh UnicodeTranscode"
)
_SEVERAL_TO_ONE = names(
    "Add AddN AddV2 ApproximateEqual Atan2 BitwiseAnd BitwiseOr BitwiseXor Complex Div DivNoNan Equal FloorDiv "
    "FloorMod Greater GreaterEqual Igamma Igammac LeftShift Less LessEqual LogicalAnd LogicalOr Maximum Minimum Mod "
    "Mul MulNoNan NextAfter NotEqual Pow RealDiv RightShift SelectV2 SquaredDifference StringJoin Sub Substr "
    "TruncateDiv TruncateMod Xdivy Xlog1py Xlogy Zeta"
)
_TRUE_OF_EQUALS = frozenset(names("Equal LessEqual GreaterEqual"))
_FOLDED = frozenset(names("Add AddV2 Sub Mul FloorDiv RealDiv Maximum Minimum AddN"))


@rule("Identity", "StopGradient", "IdentityN", accepts=EVERY)
def _same(operation: Operation) -> list[Fact]:
    # Nothing changes.
    return list(operation.inputs)


@rule("Cast", accepts=ANY)
def _cast(operation: Operation) -> list[Fact]:
    # A value changes its type at most. Ids are whole numbers, so a cast to a smaller type could only wrap them.
    (fact,) = operation.inputs
    is_whole = operation.node.attr["DstT"].type in (3, 9)  # int32, int64
    if fact.kind in (Kind.IDS, Kind.PLACES) and not is_whole:
        return [Fact(Kind.SIZE, fact.shape)]
    was_whole = operation.node.attr["SrcT"].type in (3, 9)
    value = fact.value if is_whole and was_whole else None
    return [Fact(fact.kind, fact.shape, value, of=fact.of, reason=fact.reason)]


@rule(*_ONE_TO_ONE, accepts=USUAL | {Kind.PADDED})
def _one_to_one(operation: Operation) -> list[Fact]:
    # Each element of the result comes from one element.
    (fact, *_) = operation.inputs
    return [Fact(fact.kind, fact.shape, reason=fact.reason)]


@rule(*_SEVERAL_TO_ONE, accepts=EVERY)
def _several_to_one(operation: Operation) -> list[Fact]:
    # Each element of the result comes from the elements that broadcasting puts at its place: of the same row, if the
    # axis of the rows meets only itself or a single element.
    inputs = operation.inputs
    kinds = {fact.kind for fact in inputs}
    if kinds & SPECIAL:
        return [_in_a_step(operation, kinds)]
    if kinds <= USUAL:
        if kinds == {Kind.CONSTANT} and any(fact.shape is None for fact in inputs):
            return [Fact(Kind.CONSTANT)]
        value = _folded(operation)
        result = with_shape(broadcast([fact.dims for fact in inputs], operation.symbols.fixed))
        return [of_value(value, result.dims, result) if value else result]
    reason = next((fact.reason for fact in inputs if fact.reason), "")
    shape = _shape_or_none(operation)
    values = {fact.value for fact in inputs}
    if (
        operation.node.op in _TRUE_OF_EQUALS
        and len(values) == 1
        and all(isinstance(e, Size) for e in values.pop() or [0])
    ):
        return [Fact(Kind.CONSTANT, shape)]
    value = _folded(operation)
    if value is not None and shape is not None:
        kind = Kind.MIXED if reason else Kind.SIZE
        return [of_value(value, shape, Fact(kind, shape, reason=reason))]
    if Kind.MIXED in kinds:
        return [mixed(reason, shape)]
    if Kind.PADDED in kinds:
        return [_padded(inputs)]
    if Kind.ROWS in kinds:
        raise Mixes("the answer to a row depends on the number of rows, or on its place")
    return [Fact(Kind.SIZE, shape)]


def _in_a_step(operation: Operation, kinds: set[Kind]) -> Fact:
    """Return the fact of a result in a loop over the rows."""
    first, *others = operation.inputs
    name = operation.node.op
    if kinds <= {Kind.PART, Kind.CONSTANT}:
        return Fact(Kind.PART)
    if name in ("Add", "AddV2") and kinds == {Kind.STEP, Kind.CONSTANT}:
        return Fact(Kind.STEP, (), _folded(operation))
    if name == "Less" and first == Fact(Kind.STEP, (), (Size(0),)) and others[0].kind is Kind.SIZE:
        (rows,) = dims_of(others[0].sizes)
        if isinstance(rows, Rows) and rows.is_plain:
            return Fact(Kind.RUNNING, (), of=rows)
    if name == "LogicalAnd" and kinds == {Kind.RUNNING} and others == [first]:
        return first
    raise Mixes("it combines the rows, or uses the number of a row")


def _padded(inputs: Sequence[Fact]) -> Fact:
    padded = [fact for fact in inputs if fact.kind is Kind.PADDED]
    others = [fact for fact in inputs if fact.kind is not Kind.PADDED]
    # Beside single numbers the padding stays what it is: a part of a row that no row may use.
    if len(padded) == 1 and all(fact.kind is Kind.CONSTANT and fact.shape == () for fact in others):
        return padded[0]
    raise Mixes("a size of an input depends on several rows")


def _shape_or_none(operation: Operation) -> tuple[Size | Rows, ...] | None:
    try:
        return broadcast([fact.dims for fact in operation.inputs], operation.symbols.fixed)
    except Mixes:
        return None


def _folded(operation: Operation) -> tuple[Element, ...] | None:
    """Compute the elements of a result; None if nothing is known of them."""
    name = operation.node.op
    values = [fact.value for fact in operation.inputs]
    if name not in _FOLDED or not any(values):
        return None
    scalars = [fact.shape == () for fact in operation.inputs]
    length = max((len(value) for value in values if value is not None), default=0)
    if any(value is None and not scalar for value, scalar in zip(values, scalars, strict=True)):
        return None
    columns = [value if value is not None else (None,) for value in values]
    if any(len(column) not in (1, length) for column in columns):
        return None
    spread = [column * length if len(column) == 1 else column for column in columns]
    result = spread[0]
    for column in spread[1:]:
        result = tuple(_combine(name, a, b) for a, b in zip(result, column, strict=True))
    return result if any(element is not None for element in result) else None


def _combine(name: str, a: Element, b: Element) -> Element:
    if name in ("Maximum", "Minimum"):
        return _maximum(a, b) if name == "Maximum" else _minimum(a, b)
    if not isinstance(a, Size) or not isinstance(b, Size):
        return None
    if name == "Mul":
        return a * b
    if name == "FloorDiv":
        quotient = a.over(b)
        return quotient or (Size(a.number // b.number) if a.is_number and b.is_number and b.number else None)
    if a.symbols != b.symbols or name == "RealDiv":
        return None
    return Size(a.number - b.number if name == "Sub" else a.number + b.number, a.symbols)


def _lower_bound(element: Element) -> int | None:
    if isinstance(element, AtLeast):
        return element.number
    if isinstance(element, Size):
        return element.number if element.is_number else 0  # a number of rows or entries
    return None


def _maximum(a: Element, b: Element) -> Element:
    if a == b:
        return a
    if isinstance(a, Size) and isinstance(b, Size) and a.is_number and b.is_number:
        return max(a, b, key=lambda size: size.number)
    for one, other in ((a, b), (b, a)):
        # A number of rows is at least 0.
        if isinstance(one, Size) and one.number > 0 and isinstance(other, Size) and other == Size(0):
            return one
    bounds = [bound for bound in (_lower_bound(a), _lower_bound(b)) if bound is not None]
    return AtLeast(max(bounds)) if bounds else None


def _minimum(a: Element, b: Element) -> Element:
    if a == b:
        return a
    for one, other in ((a, b), (b, a)):
        bound = _lower_bound(other)
        if isinstance(one, Size) and one.is_number and bound is not None and bound >= one.number:
            return one  # whatever the other number is
    if isinstance(a, Size) and isinstance(b, Size) and a.is_number and b.is_number:
        return min(a, b, key=lambda size: size.number)
    return None


@rule("ZerosLike", "OnesLike", accepts=ANY)
def _filled_like(operation: Operation) -> list[Fact]:
    # Only the shape of the input is used.
    (fact,) = operation.inputs
    if fact.shape is None:
        return [Fact(fact.kind, reason=fact.reason) if fact.kind is Kind.CONSTANT else mixed(fact.reason)]
    number = 0 if operation.node.op == "ZerosLike" else 1
    if fact.value is not None:
        return [Fact(Kind.CONSTANT, fact.shape, (Size(number),) * len(fact.value))]
    if any(dim is None for dim in fact.shape):
        return [Fact(fact.kind, fact.shape, reason=fact.reason)]
    return [with_shape(fact.dims, number)]


@rule("Select")
def _select(operation: Operation) -> list[Fact]:
    # The condition has the shape of the others, or one element, or one per row of the first axis.
    condition, yes, no = operation.inputs
    dims = broadcast([yes.dims, no.dims], operation.symbols.fixed)
    if condition.rank == 1 and len(dims) > 1:
        if condition.dims[0] != dims[0]:
            raise Mixes("the condition is not one per row")
        return [with_shape(dims)]
    return [with_shape(broadcast([condition.dims, dims], operation.symbols.fixed))]


@rule("ClipByValue", "FakeQuantWithMinMaxVars", "RegexReplace", "RegexFullMatch")
def _with_single_parameters(operation: Operation) -> list[Fact]:
    # Each element alone, with parameters that are one element for all.
    first, *parameters = operation.inputs
    if any(fact.kind is not Kind.CONSTANT or fact.shape != () for fact in parameters):
        raise Mixes("a parameter is not a single constant")
    return [Fact(first.kind, first.shape)]


@rule("LookupTableFindV2")
def _look_up(operation: Operation) -> list[Fact]:
    # A table is the same for all rows; each key is looked up alone.
    _, keys, default = operation.inputs
    if default.kind is not Kind.CONSTANT:
        raise Mixes("the default value depends on rows")
    return [with_shape((*keys.dims, *default.dims))]


@rule("OneHot")
def _one_hot(operation: Operation) -> list[Fact]:
    # Each element becomes a vector of constants.
    ids, depth, on, off = operation.inputs
    if on.kind is not Kind.CONSTANT or off.kind is not Kind.CONSTANT:
        raise Mixes("the values depend on rows")
    (size,) = depth.sizes if depth.value else (operation.unknown_size(),)
    if size.row_symbols or depth.kind is not Kind.CONSTANT:
        raise Mixes("the width depends on the rows")
    axis = operation.integer("axis")
    dims = list(ids.dims)
    dims.insert(len(dims) if axis == -1 else axis, size)
    return [with_shape(dims)]


@rule("BiasAdd")
def _add_bias(operation: Operation) -> list[Fact]:
    # The bias is one element per channel, which is never the axis of the rows.
    values, bias = operation.inputs
    axis = 1 if operation.text("data_format") == "NCHW" else values.rank - 1
    if bias.kind is not Kind.CONSTANT or values.rank < 2 or values.row_axis == axis:
        raise Mixes("the bias is added along the rows")
    return [with_shape(values.dims)]
