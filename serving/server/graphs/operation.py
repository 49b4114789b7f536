"""An operation whose inputs are known, and the table of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benison.serving.server.graphs.facts import Fact, Kind, Mixes, Shape, mixed
from benison.serving.server.graphs.sizes import Rows, Size, entries_symbol, fixed_symbol

Graph = Callable[[str, Sequence[Fact]], list[Fact]]  # interprets a function of the library


def names(text: str) -> list[str]:
    """Return the types of operations in a text."""
    return text.split()


class Symbols:
    """Makes names of sizes."""

    def __init__(self) -> None:
        self.count = 0
        self._entries: dict[int, Rows] = {}

    def tag(self) -> int:
        """Return a new tag of a tensor."""
        self.count += 1
        return self.count

    def fixed(self) -> str:
        """Return a new name of a size that is the same in every run."""
        self.count += 1
        return fixed_symbol(self.count)

    def entries(self, tag: int = 0) -> Rows:
        """Return an axis along the entries of a sparse tensor: a new one, or that of a tag's true elements."""
        if tag in self._entries:
            return self._entries[tag]
        self.count += 1
        rows = Rows(symbol=entries_symbol(self.count))
        if tag:
            self._entries[tag] = rows
        return rows


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation with what is known of its inputs.

    Attributes:
        node: the NodeDef.
        inputs: what is known of its inputs, without control inputs.
        symbols: makes names of sizes.
        call: interprets a function that it calls.
        outputs: the number of its outputs.
    """

    node: Any
    inputs: Sequence[Fact]
    symbols: Symbols
    call: Graph
    outputs: int

    def integer(self, name: str) -> int:
        """Return an attribute."""
        return int(self.node.attr[name].i)

    def flag(self, name: str) -> bool:
        """Return an attribute."""
        return bool(self.node.attr[name].b)

    def integers(self, name: str) -> list[int]:
        """Return an attribute."""
        return list(self.node.attr[name].list.i)

    def text(self, name: str) -> str:
        """Return an attribute."""
        return str(self.node.attr[name].s.decode())

    def mixes(self, reason: str, shape: Shape | None = None) -> Fact:
        """Return the fact of a result in which this operation mixes rows."""
        return mixed(f"{self.node.op} {self.node.name}: {reason}", shape)

    def unknown_size(self) -> Size:
        """Return a size that is the same in every run, but not known."""
        return Size(1, (self.symbols.fixed(),))

    def axis(self, position: int, rank: int) -> int:
        """Return an axis from an input with a known number.

        Raises:
            Mixes: it is not known.
        """
        (axis,) = self.inputs[position].numbers
        return axis_of(axis, rank)


def axis_of(axis: int, rank: int) -> int:
    """Return an axis counted from the front.

    Raises:
        Mixes: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise Mixes("an axis does not exist")
    return axis % rank


Rule = Callable[[Operation], list[Fact]]


@dataclass(frozen=True)
class Entry:
    """A rule and the kinds of inputs that it was written for."""

    apply: Rule
    accepts: frozenset[Kind]


USUAL = frozenset([Kind.CONSTANT, Kind.ROWS])
SPECIAL = frozenset([Kind.ROW_LIST, Kind.STEP, Kind.RUNNING, Kind.PART, Kind.ALL, Kind.SOME])  # few rules know them
ANY = frozenset(Kind) - SPECIAL
EVERY = frozenset(Kind)
RULES: dict[str, Entry] = {}


def rule(*operations: str, accepts: frozenset[Kind] = USUAL) -> Callable[[Rule], Rule]:
    """Register a rule; it is not asked about inputs of other kinds."""

    def register(function: Rule) -> Rule:
        for name in operations:
            RULES[name] = Entry(function, accepts)
        return function

    return register


def with_defaults(node: Any, definition: Any) -> Any:
    """Return an operation with all attributes: a SavedModel may leave out those that have the default value."""
    left_out = [a for a in definition.attr if a.name not in node.attr and a.HasField("default_value")]
    if not left_out:
        return node
    whole = type(node)()
    whole.CopyFrom(node)
    for attribute in left_out:
        whole.attr[attribute.name].CopyFrom(attribute.default_value)
    return whole


def output_offsets(node: Any, definition: Any) -> Mapping[str, int]:
    """Return the position of the first tensor of each named output, and of their end under the empty name."""
    offsets: dict[str, int] = {}
    count = 0
    for argument in definition.output_arg:
        offsets[argument.name] = count
        if argument.number_attr:
            count += node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            count += len(node.attr[argument.type_list_attr].list.type)
        else:
            count += 1
    offsets[""] = count
    return offsets
