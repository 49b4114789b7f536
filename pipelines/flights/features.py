"""The features of a flight: numbers, categories and crosses of categories, each packed into one tensor."""

from __future__ import annotations

from typing import Any

from benison import dense, dense_columns

NUMBERS = (
    "hour", "weekday", "distance", "sched_minutes", "origin_hour_flights", "plane_year", "seats", "tail_flights_30d",
    "tail_late_share_30d", "route_late_share_30d", "flight_late_share_30d",
    "carrier_late_share_7d", "hour_late_share_7d", "origin_late_share_1d",
    "humid", "wind_speed", "wind_gust", "precip", "visib",
)  # fmt: skip
# Number of values in each; one more id stands for values not seen in training.
CATEGORIES = {"carrier": 16, "origin": 3, "dest": 105, "hour": 20}
CROSSES = (("carrier", "origin"), ("carrier", "dest"), ("carrier", "hour"), ("origin", "hour"))
CROSS_BUCKETS = 512
# The meaning of a missing report: no gusts, no rain, good visibility.
UNREPORTED = {"wind_gust": 0.0, "precip": 0.0, "visib": 10.0}

# Left out: temperature, dew point, air pressure, `month`, `day` and `tailnum`. They identify the week rather than the
# flight, so a model can memorise how late the flights of a training week were. `valid` and `blend` cannot show this,
# because their rows are from the same weeks; a later month does. On February, March, April, August and October, each
# after one or two months of training, leaving out temperature and dew point reduced the ensemble's mean log loss from
# 0.508 to 0.506 and its cost from 0.778 to 0.762.

# What trees do not see; all other columns helped them on May and on December.
NOT_FOR_TREES = ("month", "day", "time_hour", "tailnum")


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Compute all features in few tensors, because a server spends time on each tensor that it parses.

    Args:
        inputs: raw features, Tensor or SparseTensor [batch, 1].

    Returns:
        `numbers`: float32 [batch, n], z-scores, 0 (the mean) where missing.
        `categories`: int64 [batch, 4], ids as in `CATEGORIES`.
        `crosses`: int64 [batch, 4], hashed, as in `CROSSES`; each cross has its own `CROSS_BUCKETS` ids.
        `trees`: all columns but `NOT_FOR_TREES`, for members of kind `trees`.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.pipelines.generic.trees import tree_features

    # One analyzer for all numbers; it ignores NaN.
    scores = tft.scale_to_z_score(_numbers(inputs), elementwise=True)
    texts = {name: _text(inputs[name]) for name in CATEGORIES}
    categories = [
        tft.compute_and_apply_vocabulary(texts[name], top_k=values, num_oov_buckets=1, vocab_filename=name)
        for name, values in CATEGORIES.items()
    ]
    crosses = [
        tf.strings.to_hash_bucket_fast(texts[one] + "|" + texts[other], CROSS_BUCKETS) + index * CROSS_BUCKETS
        for index, (one, other) in enumerate(CROSSES)
    ]
    return {
        "numbers": tf.where(tf.math.is_nan(scores), 0.0, scores),
        "categories": tf.concat(categories, axis=1),
        "crosses": tf.concat(crosses, axis=1),
        "trees": tree_features(
            inputs,
            {
                name: {"kind": "hashed" if inputs[name].dtype == tf.string else "number"}
                for name in inputs
                if name not in NOT_FOR_TREES
            },
        ),
    }


def _numbers(inputs: dict[str, Any]) -> Any:
    """Convert numbers to float32 [batch, n], NaN where missing; rain to the logarithm of 1/100 inch."""
    import tensorflow as tf

    values = dense_columns(inputs, NUMBERS, float("nan"), tf.float32)
    unreported = [UNREPORTED.get(name, float("nan")) for name in NUMBERS]
    values = tf.where(tf.math.is_nan(values), unreported, values)
    return tf.where([name == "precip" for name in NUMBERS], tf.math.log1p(100 * values), values)


def _text(column: Any) -> Any:
    """Convert a column to text [batch, 1], '' or -1 where missing."""
    import tensorflow as tf

    if column.dtype == tf.string:
        return dense(column, default="")
    return tf.strings.as_string(tf.cast(dense(column, default=-1), tf.int64))
