"""Fitted trees of any library as arrays: the nodes of all trees, one after another.

A condition on a number compares sort keys: whole numbers in the order of the float32 numbers that they stand for. So a
comparison is exact also next to 0, where TensorFlow takes the smallest float32 numbers for 0; and the thresholds of
libraries that compare float64 numbers become the keys of the float32 numbers that they divide in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from benison.serving.errors import UsageError

LEAF = -1
# Each node is a few numbers of the served graph, and a graph is a file of at most 2 GB.
MAX_NODES = 16_000_000
MAX_TREES = 10_000  # each row of a request has a place in each tree


class Missing(IntEnum):
    """The way of a missing number through a condition."""

    LEFT = 0
    RIGHT = 1
    ZERO = 2  # it counts as 0
    ZERO_LEFT = 3  # it goes left, and so does 0
    ZERO_RIGHT = 4


@dataclass(frozen=True)
class LeftSet:
    """The ids of a category that go left.

    Attributes:
        ids: the ids that differ from `others`.
        others: all other ids go left: negative ones, and those that training did not have.
    """

    ids: frozenset[int]
    others: bool = False


@dataclass(frozen=True)
class Nodes:
    """The nodes of one tree or of several.

    Attributes:
        columns: int32 [nodes], the column of each condition; `LEAF` for a leaf.
        thresholds: int32 [nodes], sort keys; a number goes left if its key is at most this.
        missing: int8 [nodes], see `Missing`.
        sets: int32 [nodes], which of the sets of ids goes left; -1 for a condition on a number.
        left: int32 [nodes], number of the node on the left.
        right: int32 [nodes].
        values: float64 [nodes, width], the answer of each leaf.
    """

    columns: NDArray
    thresholds: NDArray
    missing: NDArray
    sets: NDArray
    left: NDArray
    right: NDArray
    values: NDArray

    @classmethod
    def of(
        cls,
        columns: Sequence[int] | NDArray,
        thresholds: NDArray,
        missing: Sequence[int] | NDArray,
        left: Sequence[int] | NDArray,
        right: Sequence[int] | NDArray,
        values: Sequence[float] | NDArray,
        sets: Sequence[int] | NDArray | None = None,
    ) -> Nodes:
        """Return the nodes of a tree, of arrays of any type; `values` are [nodes] or [nodes, width]."""
        numbers = np.asarray(values, np.float64)
        return cls(
            np.asarray(columns, np.int32),
            np.asarray(thresholds, np.int32),
            np.asarray(missing, np.int8),
            np.full(len(numbers), -1, np.int32) if sets is None else np.asarray(sets, np.int32),
            np.asarray(left, np.int32),
            np.asarray(right, np.int32),
            numbers.reshape(len(numbers), -1),
        )


@dataclass(frozen=True)
class Forest:
    """Trees whose answers are summed.

    Attributes:
        nodes: the nodes of all trees.
        roots: int32 [trees], the first node of each tree.
        outputs: int32 [trees], the output that each tree is part of, if a leaf has one value; else zeros.
        sets: the sets of ids.
        scale: an answer is `scale` times the sum of the leaves, plus `bias`, and then what `link` says.
        bias: float64 [outputs].
        link: identity, sigmoid, softmax, exp, or signed_square.
        zero: numbers whose size is at most this count as 0; a float32 number.
    """

    nodes: Nodes
    roots: NDArray
    outputs: NDArray
    sets: Sequence[LeftSet]
    scale: float
    bias: NDArray
    link: str
    zero: float = 0.0

    @classmethod
    def of(
        cls,
        trees: Sequence[Nodes],
        bias: NDArray | float,
        link: str,
        *,
        outputs: Iterable[int] | None = None,
        sets: Sequence[LeftSet] = (),
        scale: float = 1.0,
        zero: float = 0.0,
    ) -> Forest:
        """Join trees, each with nodes numbered from 0.

        Raises:
            UsageError: there are none, or too many trees or nodes for a served graph.
        """
        if not trees:
            raise UsageError("the model has no trees; fit at least one")
        sizes = [len(tree.columns) for tree in trees]
        if len(trees) > MAX_TREES or sum(sizes) > MAX_NODES:
            raise UsageError(
                f"the model has {len(trees):,} trees with {sum(sizes):,} nodes, expected at most {MAX_TREES:,} trees "
                f"with {MAX_NODES:,} nodes; limit their number, their depth or their leaves"
            )
        roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        fields = {name: np.concatenate([getattr(tree, name) for tree in trees]) for name in Nodes.__annotations__}
        starts = np.repeat(roots, sizes)
        for side in ("left", "right"):
            fields[side] = np.where(fields["columns"] == LEAF, 0, fields[side] + starts).astype(np.int32)
        return cls(
            Nodes(**fields),
            roots,
            np.zeros(len(trees), np.int32) if outputs is None else np.fromiter(outputs, np.int32, len(trees)),
            sets,
            scale,
            np.atleast_1d(np.asarray(bias, np.float64)),
            link,
            zero,
        )

    @property
    def trees(self) -> int:
        """The number of trees."""
        return len(self.roots)

    def levels(self) -> list[NDArray]:
        """Return the numbers of the nodes of all trees, level by level; the two below a node are side by side."""
        level, levels = self.roots, []
        while len(level):
            levels.append(level)
            inner = level[self.nodes.columns[level] != LEAF]
            level = np.stack([self.nodes.left[inner], self.nodes.right[inner]], axis=1).ravel()
        return levels


def sort_keys(numbers: NDArray) -> NDArray:
    """Return int32 keys in the order of float32 numbers; 0 and -0 have the same one. NaN has no place in the order."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.int32)
    return np.where(bits >= 0, bits, np.int32(-(2**31)) - bits).astype(np.int32)


def at_most(thresholds: NDArray) -> NDArray:
    """Return the keys of the thresholds of `x <= threshold`, where x is float32, and the threshold float64."""
    wide = np.asarray(thresholds, np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
        below = np.where(narrow > wide, np.nextafter(narrow, np.float32(-np.inf)), narrow)
    return sort_keys(below)


def below(thresholds: NDArray) -> NDArray:
    """Return the keys of the thresholds of `x < threshold`, both float32."""
    return sort_keys(np.asarray(thresholds, np.float32)) - np.int32(1)
