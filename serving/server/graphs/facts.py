"""Facts: the knowledge about a tensor before a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from benison.serving.server.graphs.sizes import ONE, Dim, Rows, Size, size_of


class Kind(Enum):
    """The kinds of dependence of a tensor on the rows of a request."""

    CONSTANT = "the same in every run"
    SIZE = "it depends on the number of rows only"
    ROWS = "one axis is along the rows, and what belongs to a row depends on this row only"
    IDS = "one axis is along the rows, and each element is the number of its row"
    PLACES = "[entries, columns]: the first column has the number of an entry's row, the others depend on this row only"
    PADDED = "as ROWS, but other sizes depend on all rows"
    LIST = "a list of tensors, as many in every run; `inner` is what each of them is"
    ROW_LIST = "a list with a tensor for each row; `inner` is None until it is filled"
    STEP = "in a loop over the rows: the number of the step's row, and `value` more"
    RUNNING = "in a loop over the rows: whether a row is left"
    PART = "in a loop over the rows: what depends on the step's row only"
    ALL = "truth values: whether something is true of every row"
    SOME = "truth values: whether something is true of any row"
    MIXED = "anything else"


class Mixes(Exception):
    """An operation may let a row depend on other rows; the message says how."""


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A number with a known lower bound."""

    number: int


Shape = tuple[Dim | AtLeast, ...]  # AtLeast for a size that depends on several rows, such as that of the longest text
Element = Size | AtLeast | None


@dataclass(frozen=True, slots=True)
class Fact:
    """The knowledge about a tensor.

    Attributes:
        kind: how it depends on the rows.
        shape: its sizes; None if even its rank is unknown.
        value: its elements, if it has rank 0 or 1 and few whole numbers; None for an unknown element.
        fill: the value of every element, if that is known.
        matrix: the elements, if it has rank 2 and few whole numbers.
        of: what the numbers of IDS and PLACES count, the tensors of ROW_LIST, and the steps of RUNNING: the places
            along such an axis.
        reason: for MIXED, the operation that mixes rows, and why.
        inner: the variable of a resource; an element of a tensor list.
        tag: tensors with equal tags have the same elements in the same order; 0 for a tensor without one.
    """

    kind: Kind
    shape: Shape | None = None
    value: tuple[Element, ...] | None = None
    fill: Any = None
    matrix: tuple[tuple[int, ...], ...] | None = None
    of: Rows | None = None
    reason: str = ""
    inner: Fact | None = None
    tag: int = 0

    @property
    def dims(self) -> tuple[Dim, ...]:
        """The sizes.

        Raises:
            Mixes: a size is unknown.
        """
        dims = tuple(dim for dim in self.shape or () if not isinstance(dim, AtLeast))
        if self.shape is None or len(dims) < len(self.shape):
            raise Mixes("the shape of an input is unknown")
        return dims

    @property
    def rank(self) -> int:
        """The number of axes.

        Raises:
            Mixes: it is unknown.
        """
        if self.shape is None:
            raise Mixes("the rank of an input is unknown")
        return len(self.shape)

    @property
    def row_axis(self) -> int | None:
        """The axis along the rows; None if there is none.

        Raises:
            Mixes: the sizes are unknown.
        """
        return next((axis for axis, dim in enumerate(self.dims) if isinstance(dim, Rows)), None)

    @property
    def numbers(self) -> list[int]:
        """The elements, all of which are known numbers.

        Raises:
            Mixes: one is not.
        """
        if self.value is None or not all(isinstance(e, Size) and e.is_number for e in self.value):
            raise Mixes("an axis or a size is not a known constant")
        return [element.number for element in self.value if isinstance(element, Size)]

    @property
    def sizes(self) -> list[Size]:
        """The elements, all of which are known sizes.

        Raises:
            Mixes: one is not.
        """
        if self.value is None or not all(isinstance(element, Size) for element in self.value):
            raise Mixes("a size depends on the values of rows")
        return [element for element in self.value if isinstance(element, Size)]


def mixed(reason: str, shape: Shape | None = None, value: tuple[Element, ...] | None = None) -> Fact:
    """Return the fact of a tensor whose rows are mixed; without a reason, a shape nobody knows is meant."""
    return Fact(Kind.MIXED, shape, value, reason=reason or "a size is unknown, and may depend on other rows")


def with_shape(shape: Iterable[Dim], fill: Any = None) -> Fact:
    """Return the fact of a tensor that consists of its rows, or of a constant.

    Raises:
        Mixes: two axes are along the rows.
    """
    dims = tuple(shape)
    row_axes = sum(isinstance(dim, Rows) for dim in dims)
    if row_axes > 1:
        raise Mixes("every row meets every other row")
    return Fact(Kind.ROWS if row_axes else Kind.CONSTANT, dims, fill=fill)


def of_value(value: Sequence[Element], shape: Shape, otherwise: Fact) -> Fact:
    """Return the fact of a tensor with known elements.

    Args:
        value: the elements.
        shape: the shape.
        otherwise: tells the kind and the reason if an element is unknown; what comes from rows is then mixed.
    """
    if not all(isinstance(element, Size) for element in value):
        if otherwise.kind not in (Kind.CONSTANT, Kind.SIZE):
            return mixed(otherwise.reason, shape, tuple(value))
        return Fact(otherwise.kind, shape, tuple(value))
    depends = any(element.row_symbols for element in value if isinstance(element, Size))
    return Fact(Kind.SIZE if depends else Kind.CONSTANT, shape, tuple(value))


def dims_of(sizes: Sequence[Size]) -> tuple[Dim, ...]:
    """Return the axes of a tensor of equal elements, which has these sizes."""
    return tuple(_dim(size) for size in sizes)


def _dim(size: Size) -> Dim:
    symbols = size.row_symbols
    if not symbols:
        return size
    if len(symbols) > 1 or size.number < 0:
        raise Mixes("an axis has a number of elements that depends on the rows")
    after = size.over(Size(1, symbols))
    assert after is not None
    return Rows(ONE, symbols[0], after)


def broadcast(shapes: Sequence[tuple[Dim, ...]], fixed: Any) -> tuple[Dim, ...]:
    """Return the shape that TensorFlow broadcasts shapes to.

    Args:
        shapes: the shapes.
        fixed: makes a new unknown size.

    Raises:
        Mixes: the axis of the rows meets another axis, which may have one element or many.
    """
    rank = max(map(len, shapes), default=0)
    padded = [(*[ONE] * (rank - len(shape)), *shape) for shape in shapes]
    return tuple(_common([shape[axis] for shape in padded], fixed) for axis in range(rank))


def _common(dims: Sequence[Dim], fixed: Any) -> Dim:
    different = {dim for dim in dims if dim != ONE}
    if not different:
        return ONE
    if len(different) == 1:
        return different.pop()
    if any(isinstance(dim, Rows) for dim in different):
        raise Mixes("the axis of the rows meets another axis")
    numbers = {size_of(dim) for dim in different if size_of(dim).is_number}
    if len(numbers) == 1:
        return numbers.pop()
    return Size(1, (fixed(),))
