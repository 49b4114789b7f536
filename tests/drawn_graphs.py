"""Draws small graphs: of operations that keep the rows of a batch apart, or with one that mixes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import tensorflow as tf

WIDTH = 4
Step = Callable[[Any], Any]  # from float32 [batch, 4] to float32 [batch, 4]

_KERNEL = [[((row * 7 + column * 5) % 11 - 5) / 7 for column in range(WIDTH)] for row in range(WIDTH)]
_TABLE = [[(row * 3 + column) / 5 for column in range(WIDTH)] for row in range(8)]


def _ids(x: Any) -> Any:
    return tf.cast(tf.math.floormod(tf.abs(tf.clip_by_value(x, -1e4, 1e4)), 8.0), tf.int32)


def _rows(x: Any) -> Any:
    return tf.shape(x)[0]


@tf.function
def _scaled(x: Any) -> Any:
    return x * 0.5 + 1.0


def _flags(x: Any) -> Any:
    sparse = tf.sparse.from_dense(x)
    return tf.sparse.to_dense(tf.sparse.map_values(tf.abs, sparse))


def _masked(x: Any) -> Any:
    places = tf.where(x > 0)
    return tf.scatter_nd(places, tf.gather_nd(x, places) * 2, tf.shape(x, out_type=tf.int64)) + x


def _present(x: Any) -> Any:
    cells = x[:, 0]
    present = cells > 0
    places = tf.concat([tf.where(present), tf.zeros_like(tf.where(present))], axis=1)
    values = tf.boolean_mask(cells, present) * 2
    return x + tf.compat.v1.sparse_to_dense(places, tf.stack([tf.shape(x, out_type=tf.int64)[0], 1]), values, 0.0)


def _other_entries(x: Any) -> Any:
    ones = x[:, :1] > 0
    values = tf.boolean_mask(x[:, 1:2], tf.logical_not(ones))
    places = tf.where(ones)
    count = tf.minimum(tf.shape(values)[0], tf.shape(places)[0])
    return x + tf.scatter_nd(places[:count], values[:count], tf.stack([tf.shape(x, out_type=tf.int64)[0], 1]))


def _segments(x: Any) -> Any:
    places = tf.where(x > 0)
    sums = tf.math.unsorted_segment_sum(tf.gather_nd(x, places), places[:, 0], tf.shape(x)[0])
    return x + sums[:, None]


def _dynamic_places(x: Any) -> Any:
    ids = tf.argmax(x, axis=1, output_type=tf.int32)
    return x + tf.gather_nd(x, tf.stack([tf.range(_rows(x)), ids], axis=1))[:, None]


def _lists(x: Any) -> Any:
    def step(position: Any, total: Any, parts: Any) -> Any:
        total = tf.tanh(total + parts.read(position))
        return position + 1, total, parts

    parts = tf.TensorArray(tf.float32, WIDTH).unstack(tf.transpose(x))
    _, total, _ = tf.while_loop(lambda p, *_: p < WIDTH, step, [0, tf.zeros_like(x[:, 0]), parts])
    return x + total[:, None]


def _checked(x: Any) -> Any:
    tf.debugging.assert_all_finite(x, "not a number")
    tf.debugging.assert_less(x, 1e30)
    tf.debugging.assert_equal(tf.shape(x)[0], tf.shape(x * 2)[0])
    wrong = tf.concat([tf.reduce_any(x[:, :2] > 1e30, axis=0), [tf.reduce_any(x[:, 2:] < -1e30)]], axis=0)
    tf.debugging.Assert(tf.logical_not(tf.reduce_any(wrong)), [tf.boolean_mask(["a", "b", "c"], wrong)])
    return x * 2


ROW_WISE: dict[str, Step] = {
    "function": _scaled,
    "elementwise": lambda x: tf.tanh(x) + tf.sqrt(tf.abs(x)) * 0.25,
    "vector": lambda x: x * tf.constant([1.0, -1.0, 0.5, 2.0]) + tf.constant([0.5]),
    "dense": lambda x: tf.nn.relu(tf.matmul(x, _KERNEL) + tf.constant([0.5, 0.0, -0.5, 1.0])),
    "softmax": lambda x: tf.nn.softmax(x),
    "sum": lambda x: x - tf.reduce_mean(x, axis=1, keepdims=True),
    "extreme": lambda x: x / (1 + tf.reduce_max(tf.abs(x), axis=-1)[:, tf.newaxis]),
    "concat": lambda x: tf.concat([x[:, 2:], x[:, :2]], axis=1),
    "columns": lambda x: tf.gather(x, [3, 1, 0, 2], axis=1),
    "split": lambda x: tf.stack(tf.unstack(x, axis=1)[::-1], axis=1),
    "transpose": lambda x: tf.transpose(tf.transpose(x) * [[1.0], [2.0], [3.0], [4.0]]),
    "reshape": lambda x: tf.reshape(tf.cumsum(tf.reshape(x, [-1, 2, 2]), axis=2), [-1, 4]),
    "shape": lambda x: tf.reshape(x, tf.stack([_rows(x), 2, 2]))[:, ::-1][:, :, :1][:, :, 0][:, :1] + x,
    "tile": lambda x: x + tf.tile(tf.constant([[1.0, 2.0, 3.0, 4.0]]), [_rows(x), 1]),
    "fill": lambda x: tf.concat([x[:, :3], tf.fill([_rows(x), 1], 2.5)], axis=1),
    "broadcast": lambda x: x * tf.broadcast_to(tf.constant([[2.0]]), tf.shape(x)),
    "embedding": lambda x: x + tf.reduce_mean(tf.gather(_TABLE, _ids(x)), axis=1),
    "one hot": lambda x: x + tf.reduce_sum(tf.one_hot(_ids(x), WIDTH), axis=1),
    "count": lambda x: x + tf.math.bincount(_ids(x), minlength=WIDTH, maxlength=WIDTH, axis=-1, dtype=tf.float32),
    "select": lambda x: tf.where(x > 0, x, tf.where(tf.math.is_nan(x), 0.0, x * 0.1)),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 0]])[:, :4],
    "batch gather": lambda x: tf.gather(x, _ids(x) % WIDTH, axis=1, batch_dims=1),
    "outer": lambda x: tf.reduce_sum(tf.matmul(x[:, :, None], x[:, None, :]), axis=2),
    "einsum": lambda x: tf.einsum("bi,ij->bj", x, tf.constant(_KERNEL)),
    "tensordot": lambda x: tf.tensordot(tf.reshape(x, [-1, 1, 4]), tf.constant(_KERNEL), axes=1)[:, 0],
    "largest": lambda x: tf.math.top_k(x, k=4).values + x,
    "text": lambda x: tf.strings.to_number(tf.strings.as_string(x, precision=3)) + x,
    "loop": lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, tf.tanh(v) * 1.5), [0, x])[1],
    "masked": _masked,
    "present": _present,
    "segments": _segments,
    "places": _dynamic_places,
    "lists": _lists,
    "sparse": _flags,
    "sort": lambda x: tf.sort(x, axis=1),
    "map": lambda x: tf.map_fn(lambda row: tf.reverse(tf.sort(row), [0]) - tf.reduce_mean(row), x),
    "map of two": lambda x: tf.map_fn(lambda two: two[0] * two[1][::-1], (x, x + 1), fn_output_signature=tf.float32),
    "check": _checked,
    # It keeps rows apart too, but no rule says so.
    "vectorized map": lambda x: tf.vectorized_map(lambda row: tf.math.reduce_logsumexp(row) + row, x),
}


def _words(x: Any) -> Any:
    return tf.strings.split(tf.strings.as_string(tf.exp(x[:, 0]), precision=2), "1").to_tensor(default_value="0")


def _padded_words(x: Any) -> Any:
    sizes = tf.cast(tf.strings.length(_words(x)), tf.float32)
    return x + tf.reduce_mean(sizes, axis=1, keepdims=True)


def _dense_words(x: Any) -> Any:
    texts = tf.strings.as_string(tf.exp(x[:, 0]), precision=2)
    return tf.sparse.to_dense(tf.compat.v1.strings.split(texts, "1"), "0")


def _compact(x: Any) -> Any:
    values = tf.boolean_mask(tf.reshape(x, [-1]), tf.reshape(x, [-1]) > 0)
    return x + tf.pad(values, [[0, _rows(x)]])[: _rows(x), None]


def _backwards(x: Any) -> Any:
    rows = tf.TensorArray(tf.float32, _rows(x)).unstack(x)

    def step(place: Any, results: Any) -> Any:
        return place + 1, results.write(place, rows.read(_rows(x) - 1 - place) * 2)

    results = tf.TensorArray(tf.float32, _rows(x), element_shape=[WIDTH])
    return tf.while_loop(lambda place, _: place < _rows(x), step, [0, results])[1].stack()


def _checked_together(x: Any) -> Any:
    tf.debugging.assert_less(tf.reduce_min(x), 1e30)
    return x * 2


def _checked_any(x: Any) -> Any:
    tf.debugging.Assert(tf.reduce_any(x < 1e30), ["all are large"])
    return x * 2


def _checked_number(x: Any) -> Any:
    tf.debugging.assert_greater(_rows(x), 0, message="no rows")
    return x * 2


MIXING: dict[str, Step] = {
    "mean": lambda x: x - tf.reduce_mean(x, axis=0),
    "maximum": lambda x: x / tf.maximum(1.0, tf.reduce_max(x)),
    "cumulative": lambda x: tf.cumsum(x, axis=0),
    "reverse": lambda x: tf.reverse(x, [0]),
    "softmax": lambda x: tf.transpose(tf.nn.softmax(tf.transpose(x))),
    "roll": lambda x: tf.roll(x, 1, axis=0),
    "stride": lambda x: x[::-1],
    "first": lambda x: x - x[:1],
    "meet": lambda x: x + tf.reduce_sum(x[:, :1] * x[:, 0], axis=1, keepdims=True),
    "product": lambda x: tf.matmul(tf.matmul(x, x, transpose_b=True), x),
    "reshape": lambda x: tf.reshape(tf.transpose(x), tf.shape(x)),
    "gather": lambda x: tf.gather(x, tf.math.floormod(_ids(x)[:, 0], _rows(x))) + x,
    "number": lambda x: x / tf.cast(_rows(x), tf.float32),
    "place": lambda x: x * tf.cast(tf.range(_rows(x)), tf.float32)[:, None],
    "steps": lambda x: tf.while_loop(
        lambda i, v: i < 1.0 + tf.reduce_max(tf.abs(x)) % 5, lambda i, v: (i + 1, v * 1.5), [0.0, x]
    )[1],
    "map of places": lambda x: tf.map_fn(
        lambda two: two[0] + tf.cast(two[1], tf.float32), (x, tf.range(_rows(x))), fn_output_signature=tf.float32
    ),
    "map of others": lambda x: tf.map_fn(lambda row: row - tf.reduce_mean(x), x),
    "scan": lambda x: tf.scan(lambda total, row: total * 0.5 + row, x),
    "backwards": _backwards,
    "number of steps": lambda x: x / tf.while_loop(lambda i: i < tf.cast(_rows(x), tf.float32), lambda i: i + 1, [0.0]),
    "step for each row": lambda x: tf.while_loop(lambda i, _: i < _rows(x), lambda i, v: (i + 1, v * 1.5), [0, x])[1],
    "constant with a step for each row": lambda x: (
        x * tf.while_loop(lambda i, _: i < _rows(x), lambda i, c: (i + 1, c * 1.5), [0, 1.0])[1]
    ),
    "text with a step for each row": lambda x: (
        x
        * tf.cast(
            tf.strings.length(tf.while_loop(lambda i, _: i < _rows(x), lambda i, s: (i + 1, s + "a"), [0, ""])[1]),
            tf.float32,
        )
    ),
    "swap for each row": lambda x: tf.while_loop(
        lambda i, *_: i < _rows(x), lambda i, a, b: (i + 1, b, a), [0, x, x + 1]
    )[1],
    "scan of a constant": lambda x: x * tf.scan(lambda c, _: c * 0.5, x[:, 0], tf.constant(1.0))[:, None],
    "steps of steps": lambda x: tf.while_loop(
        lambda i, _: i < 2,
        lambda i, v: (i + 1, tf.while_loop(lambda j, _: j < _rows(x), lambda j, w: (j + 1, w * 1.5), [0, v])[1]),
        [0, x],
    )[1],
    "check": _checked_together,
    "check of any": _checked_any,
    "check of the number": _checked_number,
    "branch": lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x),
    "words": _padded_words,
    "width of words": lambda x: x * tf.cast(tf.shape(_dense_words(x))[1], tf.float32),
    "ensured width": lambda x: x * tf.ensure_shape(tf.cast(tf.shape(_dense_words(x)), tf.float32), [2])[1],
    "number of words": lambda x: x / tf.cast(tf.size(_dense_words(x)), tf.float32),
    "rank of a result": lambda x: x * tf.cast(tf.shape(tf.unique(tf.range(_rows(x)))[0])[0], tf.float32),
    "compact": _compact,
    "other entries": _other_entries,
    "order": lambda x: tf.gather(x, tf.argsort(x[:, 0])),
    "noise": lambda x: x + tf.random.uniform(tf.shape(x)),
    "scatter": lambda x: tf.math.unsorted_segment_sum(x, _ids(x)[:, 0] % _rows(x), _rows(x)) + x,
}


def draw(generator: random.Random, mixes: bool) -> tuple[list[str], Step]:
    """Return the names of up to six steps, and the function that takes them."""
    names = generator.choices(list(ROW_WISE), k=generator.randint(1, 5))
    steps = [(name, ROW_WISE[name]) for name in names]
    if mixes:
        name = generator.choice(list(MIXING))
        steps.insert(generator.randint(0, len(steps)), (f"mixing: {name}", MIXING[name]))

    def function(x: Any) -> Any:
        for _, step in steps:
            x = tf.ensure_shape(step(x), [None, WIDTH])
        return x

    return [name for name, _ in steps], function
