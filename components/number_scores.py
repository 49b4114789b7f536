"""Scores of columns of numbers, for a preprocessing_fn; part of Benison's public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

MAX_SCORE = 10.0  # standard deviations: one absurd value must not dominate all others
SKEWED = 2.0  # skewness of the exponential distribution; that of a normal one is 0


def number_scores(values: tf.Tensor) -> tf.Tensor:
    """Scale each column to mean 0 and deviation 1 over `train`, those of skewed numbers as logarithms.

    A column whose skewness in `train` is above 2 or below -2 is replaced by sign(x) log(1 + |x|) if this at least
    halves it: of prices, most would otherwise have almost the same score, and few a very large one.

    Deviations need float64. In float32 the squares of 1e-25 are zero, those of 1e25 are infinite, and times in seconds
    have a wrong deviation; such a column would have the same score in all rows. An infinite number is clipped like any
    other large number.

    Args:
        values: numbers [batch, columns], NaN where missing.

    Returns:
        float32 [batch, columns], at most ten deviations from 0; 0 where missing.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.components.column_moments import ColumnMoments

    plain = tf.cast(values, tf.float64)
    columns = plain.shape[1]
    logarithms = tf.sign(plain) * tf.math.log1p(tf.abs(plain))
    both = tf.concat([plain, logarithms], axis=1)
    (moments,) = tft.experimental.ptransform_analyzer(
        [both], ColumnMoments(2 * columns), output_dtypes=[tf.float64], output_shapes=[[3, 2 * columns]]
    )
    (mean, log_mean), (deviation, log_deviation), (skewness, log_skewness) = (
        tf.split(moment, 2) for moment in tf.unstack(moments)
    )
    chosen = (tf.abs(skewness) > SKEWED) & (tf.abs(log_skewness) < tf.abs(skewness) / 2)
    centre, width = tf.where(chosen, log_mean, mean), tf.where(chosen, log_deviation, deviation)
    scores = (tf.where(chosen, logarithms, plain) - centre) / tf.where(width > 0, width, 1)
    known = tf.where(tf.math.is_nan(scores), tf.zeros_like(scores), scores)
    return tf.cast(tf.clip_by_value(known, -MAX_SCORE, MAX_SCORE), tf.float32)
