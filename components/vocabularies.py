"""Vocabularies of many columns at once, for a preprocessing_fn: a column more costs almost nothing.

These functions are part of Benison's public API. Each call has one analyzer, one file and one table, however many
columns it gets; see `benison.components.column_vocabulary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benison.serving import vocabulary_lines

if TYPE_CHECKING:
    import tensorflow as tf


def category_ids(words: tf.Tensor, sizes: Sequence[int], name: str = "categories") -> tf.Tensor:
    """Return the id of each value among the most frequent values of its column in `train`, 0 for the most frequent.

    Args:
        words: text [batch, columns], '' where a value is missing.
        sizes: the number of values of each column that get an id.
        name: the name of the vocabulary, which no other call has.

    Returns:
        int64 [batch, columns], -1 for a value without an id and for a missing one.
    """
    import tensorflow as tf

    # All operations of a request keep the shape [batch, columns], so that none of them mixes rows.
    columns = tf.tile(tf.range(len(sizes))[None], [tf.shape(words)[0], 1])
    prefixes = tf.constant([[vocabulary_lines.prefix(column) for column in range(len(sizes))]])
    starts = np.cumsum([0, *sizes[:-1]]).astype(np.int64)
    return tf.maximum(_lines(_escaped(words), columns, prefixes, sizes, name) - starts, -1)


def term_weights(terms: tf.SparseTensor, sizes: Sequence[int], name: str) -> tf.Tensor:
    """Return the TF-IDF of the most frequent terms of each column in `train`, each column normalised to length 1.

    Args:
        terms: text [batch * columns, terms]: the terms of the cells, row by row.
        sizes: the number of terms of each column that get a weight.
        name: the name of the vocabulary, which no other call has.

    Returns:
        float32 [batch, sum of the sizes], one column after the other.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.components.column_vocabulary import CellCounts

    rows = terms.dense_shape[0] // len(sizes)
    cells = terms.indices[:, 0]
    columns = cells % len(sizes)
    prefixes = tf.gather([vocabulary_lines.prefix(column) for column in range(len(sizes))], columns)
    words = _escaped(terms.values)
    lines = _lines(words, columns, prefixes, sizes, name)
    known = lines >= 0
    positions = tf.stack([cells[known] // len(sizes), lines[known]], axis=1)
    shape = tf.stack([rows, tf.constant(sum(sizes), tf.int64)])
    counts = tf.ensure_shape(tf.scatter_nd(positions, tf.ones_like(lines[known]), shape), [None, sum(sizes)])
    all_rows = tft.sum(rows[None])
    (containing,) = tft.experimental.ptransform_analyzer(
        [words, columns, cells], CellCounts(sizes), output_dtypes=[tf.int64], output_shapes=[[sum(sizes)]]
    )
    # As in `tft.tfidf`; the number of terms in a cell makes no difference to a column of length 1.
    frequencies = tf.math.log(tf.cast(all_rows + 1, tf.float32) / tf.cast(containing + 1, tf.float32)) + 1
    weights = tf.split(tf.cast(counts, tf.float32) * frequencies, sizes, axis=1)
    return tf.concat([tf.math.l2_normalize(column, axis=1) for column in weights], axis=1)


def one_hot(ids: tf.Tensor, sizes: Sequence[int]) -> tf.Tensor:
    """Encode ids [batch, columns] one-hot, all zero for -1: float32 [batch, sum of the sizes]."""
    import tensorflow as tf

    owners = np.repeat(np.arange(len(sizes)), sizes)
    places = np.concatenate([np.arange(size) for size in sizes])
    return tf.cast(tf.equal(tf.gather(ids, owners, axis=1), places), tf.float32)


def _escaped(words: tf.Tensor) -> tf.Tensor:
    """Escape line breaks in values of any shape."""
    import tensorflow as tf

    for text, escape in vocabulary_lines.LINE_ESCAPES:
        # Both are regular expressions, in which a backslash is written twice.
        words = tf.strings.regex_replace(words, text.replace("\\", r"\\"), escape.replace("\\", r"\\"))
    return words


def _lines(words: tf.Tensor, columns: tf.Tensor, prefixes: tf.Tensor, sizes: Sequence[int], name: str) -> tf.Tensor:
    """Return the line of each value in the vocabulary of all columns, -1 without one: int64, in the shape of `words`.

    Args:
        words: escaped values of any shape.
        columns: the column of each value.
        prefixes: how the line of each value begins.
        sizes: the number of lines of each column.
        name: the name of the vocabulary.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.components.column_vocabulary import ColumnVocabulary

    (file,) = tft.experimental.ptransform_analyzer(
        [words, columns],
        ColumnVocabulary(name, sizes),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[b"0-0"],
    )
    return tft.apply_vocabulary(prefixes + words, file, default_value=-1)
