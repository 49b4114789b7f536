"""Checks of all rows: whether a run that several requests share fails if it would fail for one of them alone.

If such a run fails, its requests run again alone. If it does not fail, no request may get an answer where alone it gets
an error. So what a check asks must be true of every row, or of a constant.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from benison.serving.server.graphs.facts import Kind
from benison.serving.server.graphs.operation import names

OPERATIONS = frozenset(["Assert", "If"])  # their first input is the truth value; `If` guards an `Assert`
ALLOWED = frozenset([Kind.CONSTANT, Kind.PART, Kind.ALL])
_MOVES = frozenset(names("Identity ConcatV2 Pack Reshape ExpandDims Squeeze"))
_KEEPS = {
    Kind.ALL: _MOVES | {"All", "LogicalAnd"},
    Kind.SOME: _MOVES | {"Any", "LogicalOr"},
}
_NEGATED = {Kind.ALL: Kind.SOME, Kind.SOME: Kind.ALL}


def kept(operation: str, kinds: AbstractSet[Kind]) -> Kind | None:
    """Return what an operation makes of the truth values ALL or SOME; None if it makes something else.

    Args:
        operation: the type of the operation.
        kinds: the kinds of its inputs.
    """
    for kind, keeps in _KEEPS.items():
        if kind in kinds and kinds <= {kind, Kind.CONSTANT}:
            return _NEGATED[kind] if operation == "LogicalNot" else kind if operation in keeps else None
    return None
