"""Sizes that are known only by name, such as the number of rows of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BATCH = "n"  # the number of rows of a run
_ENTRIES = "e"  # begins the name of the number of a sparse tensor's entries, which differs by row
_FIXED = "s"  # begins the name of a size that is the same in every run, but not known


def entries_symbol(number: int) -> str:
    """Return the name of the number of entries of a sparse tensor."""
    return f"{_ENTRIES}{number}"


def fixed_symbol(number: int) -> str:
    """Return the name of an unknown size that is the same in every run."""
    return f"{_FIXED}{number}"


@dataclass(frozen=True, slots=True)
class Size:
    """A whole number: the product of a number and of named sizes.

    Attributes:
        number: the number.
        symbols: the names, sorted; one occurs several times in a power.
    """

    number: int
    symbols: tuple[str, ...] = ()

    def __mul__(self, other: Size) -> Size:
        return Size(self.number * other.number, tuple(sorted(self.symbols + other.symbols)))

    def over(self, other: Size) -> Size | None:
        """Return the exact quotient, which is correct for every value of the names; None if there is none."""
        remaining = list(self.symbols)
        for symbol in other.symbols:
            if symbol not in remaining:
                return None
            remaining.remove(symbol)
        if other.number == 0 or self.number % other.number:
            return None
        return Size(self.number // other.number, tuple(remaining))

    @property
    def is_number(self) -> bool:
        """True if no name occurs."""
        return not self.symbols

    @property
    def row_symbols(self) -> tuple[str, ...]:
        """The names of numbers that depend on the request: of rows or of entries."""
        return tuple(symbol for symbol in self.symbols if not symbol.startswith(_FIXED))


ONE = Size(1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The size of an axis along which the rows are: element `(block * rows + row) * after + place` belongs to a row.

    Attributes:
        before: the number of blocks, each with all rows.
        symbol: BATCH, or the name of the number of entries of a sparse tensor; each entry belongs to one row, and the
            entries of a row and their order depend on that row only.
        after: the number of consecutive elements of a row in a block.
    """

    before: Size = ONE
    symbol: str = BATCH
    after: Size = ONE

    @property
    def size(self) -> Size:
        """The number of elements."""
        return self.before * Size(1, (self.symbol,)) * self.after

    @property
    def is_plain(self) -> bool:
        """True if each row, or each entry, is one element."""
        return self.before == ONE and self.after == ONE


Dim = Size | Rows
BATCH_ROWS = Rows()


def size_of(dim: Dim) -> Size:
    """Return the number of elements along an axis."""
    return dim.size if isinstance(dim, Rows) else dim


def product(sizes: Iterable[Size]) -> Size:
    """Multiply sizes."""
    result = ONE
    for size in sizes:
        result = result * size
    return result


def reshaped(old: Sequence[Dim], new: Sequence[Size]) -> tuple[Dim, ...] | None:
    """Return the axes of a tensor in another shape; None unless each row provably keeps its elements.

    Args:
        old: the axes now, of which at most one is along the rows.
        new: the sizes afterwards; -1 for at most one that follows from the others.
    """
    total = product(map(size_of, old))
    known = [size for size in new if size != Size(-1)]
    if len(known) < len(new) - 1:
        return None
    if len(known) < len(new):
        inferred = total.over(product(known))
        if inferred is None or total.number == 0:
            return None
        new = [inferred if size == Size(-1) else size for size in new]
    if tuple(new) == tuple(map(size_of, old)):
        return tuple(old)
    position = next((index for index, dim in enumerate(old) if isinstance(dim, Rows)), None)
    if product(new) != total:
        return None
    if position is None:
        return tuple(new)
    if total.number == 0:
        return None
    rows = old[position]
    assert isinstance(rows, Rows)
    before = product(map(size_of, old[:position])) * rows.before
    after = rows.after * product(map(size_of, old[position + 1 :]))
    target = [index for index, size in enumerate(new) if rows.symbol in size.symbols]
    if len(target) != 1:
        return None
    blocks = before.over(product(new[: target[0]]))
    places = after.over(product(new[target[0] + 1 :]))
    if blocks is None or places is None:
        return None
    return (*new[: target[0]], Rows(blocks, rows.symbol, places), *new[target[0] + 1 :])
