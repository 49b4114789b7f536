"""Trees as TensorFlow operations: each row walks from the root of each tree to a leaf, one level at a time.

A level is some gathers for each row and tree, so the time grows with the rows, the trees and the depth of the deepest
leaf. `benison.components.train.trees.in_graph` is many times as fast, but needs symmetric trees.

A column of the input becomes one view for each way to treat a missing number. In a view, a missing number is the
smallest key or the largest one, so that a walk does nothing else than compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.train.own_trees.forest import LEAF, Forest, LeftSet, Missing, sort_keys

_LEFT, _RIGHT = -(2**31), 2**31 - 1  # below and above the keys of all numbers


@dataclass(frozen=True)
class _Layout:
    """The nodes in the order of their levels, so that a node's right neighbour is next to its left one.

    Attributes:
        views: (column, treatment, first id) of each view; the treatment of known ids is -1 - their number.
        node_views: int32 [nodes].
        limits: int32 [nodes], thresholds; for ids, the first place in `is_right`.
        is_set: bool [nodes], the condition is on ids.
        is_right: int32 [places], 1 if the id goes right; for each set the known ids, then all others.
        next_left: int32 [nodes]; a leaf's is itself.
        values: float32 [nodes, width].
        roots: int32 [trees].
        depth: number of conditions on the longest way to a leaf.
    """

    views: list[tuple[int, int, int]]
    node_views: NDArray
    limits: NDArray
    is_set: NDArray
    is_right: NDArray
    next_left: NDArray
    values: NDArray
    roots: NDArray
    depth: int


def function(forest: Forest) -> Callable[[Any], Any]:
    """Return the function of a forest's answers.

    Returns:
        A function from columns float32 [rows, columns], ids among them, to answers float32 [rows, outputs]. Its
        constants are outside of the graphs of its callers, so that a SavedModel has them once for all signatures.
    """
    import tensorflow as tf

    layout = _layout(forest)
    node_views, limits, next_left = map(tf.constant, (layout.node_views, layout.limits, layout.next_left))
    is_right, is_set = tf.constant(layout.is_right), tf.constant(layout.is_set)
    width, outputs = layout.values.shape[1], len(forest.bias)
    leaves = tf.constant(layout.values if width > 1 else layout.values[:, 0])
    roots, ordered = _by_output(forest, layout), width == 1 and outputs > 1
    first = tf.constant(roots[None])
    scale, bias = tf.constant(forest.scale, tf.float64), tf.constant(forest.bias)
    link, zero = LINKS[forest.link], int(sort_keys(np.array([forest.zero]))[0])

    def answers(columns: Any) -> Any:
        rows = tf.shape(columns)[0]
        keys = tf.concat(
            [_view(columns, *view, zero) for view in layout.views] or [tf.zeros([rows, 1], tf.int32)], axis=1
        )
        flat = tf.reshape(keys, [-1])
        start = tf.range(rows)[:, None] * max(len(layout.views), 1)
        node = tf.tile(first, [rows, 1])
        for _ in range(layout.depth):
            key, limit = tf.gather(flat, start + tf.gather(node_views, node)), tf.gather(limits, node)
            right = tf.cast(key > limit, tf.int32)
            if len(layout.is_right):
                of_ids = tf.gather(is_set, node)
                place = tf.where(of_ids, limit + key, 0)
                right = tf.where(of_ids, tf.gather(is_right, place), right)
            node = tf.gather(next_left, node) + right
        values = tf.cast(tf.gather(leaves, node), tf.float64)
        if ordered:
            values = tf.reduce_sum(tf.reshape(values, [rows, outputs, roots.size // outputs]), axis=2)
        else:
            values = tf.reshape(tf.reduce_sum(values, axis=1), [rows, outputs])
        return tf.cast(link(values * scale + bias), tf.float32)

    return answers


def depth_of(forest: Forest) -> int:
    """Return the number of conditions on the longest way to a leaf."""
    return len(forest.levels()) - 1


def _layout(forest: Forest) -> _Layout:
    nodes, levels = forest.nodes, forest.levels()
    order = np.concatenate(levels)
    place = np.zeros(len(nodes.columns), np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    columns, sets = nodes.columns[order], nodes.sets[order]
    is_leaf, is_set = columns == LEAF, (sets >= 0) & (columns != LEAF)
    offsets, treatments, first_ids, is_right = _sets(forest.sets, columns, sets, is_set)
    treatments = np.where(is_set, treatments, nodes.missing[order])
    every = np.stack([columns, treatments, first_ids], axis=1)[~is_leaf]
    views, places = np.unique(every, axis=0, return_inverse=True) if len(every) else (every, np.zeros(0, np.int64))
    node_views = np.zeros(len(order), np.int32)  # a leaf has any view, since it needs none
    node_views[~is_leaf] = places.reshape(-1)
    limits = np.where(is_leaf, _RIGHT, np.where(is_set, offsets, nodes.thresholds[order]))
    return _Layout(
        views=[(int(column), int(treatment), int(first)) for column, treatment, first in views],
        node_views=node_views,
        limits=limits.astype(np.int32),
        is_set=is_set,
        is_right=is_right,
        next_left=np.where(is_leaf, place[order], place[nodes.left[order]]).astype(np.int32),
        values=nodes.values[order].astype(np.float32),
        roots=place[forest.roots],
        depth=len(levels) - 1,
    )


def _sets(
    sets: Sequence[LeftSet], columns: NDArray, which: NDArray, is_set: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return the first place, treatment and first id of each node's ids, and whether each id goes right."""
    offsets, treatments, first_ids = (np.zeros(len(columns), np.int64) for _ in range(3))
    places: list[NDArray] = []
    total = 0
    for column in np.unique(columns[is_set]):
        nodes = np.flatnonzero(is_set & (columns == column))
        ids = sorted(set().union(*(sets[number].ids for number in which[nodes]))) or [0]
        known = ids[-1] - ids[0] + 1
        treatments[nodes], first_ids[nodes] = -known - 1, ids[0]
        starts: dict[LeftSet, int] = {}
        for node in nodes:
            left = sets[which[node]]
            if left not in starts:
                goes_right = np.full(known + 1, 0 if left.others else 1, np.int32)
                goes_right[[number - ids[0] for number in left.ids]] ^= 1
                starts[left] = total
                places.append(goes_right)
                total += known + 1
            offsets[node] = starts[left]
    return offsets, treatments, first_ids, np.concatenate(places) if places else np.zeros(0, np.int32)


def _by_output(forest: Forest, layout: _Layout) -> NDArray:
    """Return the roots, for leaves of one value and several outputs grouped by output, with as many for each."""
    counts = np.bincount(forest.outputs, minlength=len(forest.bias))
    if layout.values.shape[1] > 1 or len(counts) == 1:
        return layout.roots
    if (counts != counts[0]).any():
        raise ValueError(f"the outputs have different numbers of trees: {sorted(set(counts.tolist()))}")
    return layout.roots[np.argsort(forest.outputs, kind="stable")]


def _view(columns: Any, column: int, treatment: int, first: int, zero: int) -> Any:
    """Return the keys of a column, int32 [rows, 1], or the places of its ids."""
    import tensorflow as tf

    numbers = columns[:, column : column + 1]
    if treatment < 0:
        known, ids = float(-treatment - 1), numbers - float(first)
        return tf.cast(tf.where((ids >= 0) & (ids < known), ids, known), tf.int32)
    bits = tf.bitcast(numbers, tf.int32)
    keys = tf.where(bits >= 0, bits, tf.int32.min - bits)
    keys = tf.where(tf.abs(keys) <= zero, 0, keys)
    way = {Missing.LEFT: _LEFT, Missing.ZERO_LEFT: _LEFT, Missing.ZERO: 0}.get(Missing(treatment), _RIGHT)
    missing = tf.math.is_nan(numbers)
    if treatment in (Missing.ZERO_LEFT, Missing.ZERO_RIGHT):
        missing |= keys == 0
    return tf.where(missing, tf.constant(way, tf.int32), keys)


def _identity(values: Any) -> Any:
    return values


def _sigmoid(values: Any) -> Any:
    import tensorflow as tf

    return tf.sigmoid(values)


def _softmax(values: Any) -> Any:
    import tensorflow as tf

    return tf.nn.softmax(values)


def _exp(values: Any) -> Any:
    import tensorflow as tf

    return tf.exp(values)


def _signed_square(values: Any) -> Any:
    import tensorflow as tf

    return tf.sign(values) * values**2


LINKS: dict[str, Callable[[Any], Any]] = {
    "identity": _identity,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "exp": _exp,
    "signed_square": _signed_square,
}
