"""The features of a penguin."""

from __future__ import annotations

from typing import Any

from benison import dense

MEASUREMENTS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
CATEGORIES = {"island": 3, "sex": 2}  # number of values in each

# `year` is left out: the year of an observation tells nothing about penguins observed later.


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Turn measurements into z-scores and categories into one-hot vectors; Benison handles the label.

    Args:
        inputs: raw features, Tensor or SparseTensor [batch, 1].

    Returns:
        float32 [batch, 1] per measurement, 0 (the mean) where missing; float32 [batch, values + 1] per category, with
        the last position for values not seen in training, all zero where missing.
    """
    import tensorflow as tf
    import tensorflow_transform as tft

    features = {}
    for name in MEASUREMENTS:
        features[name] = dense(tft.scale_to_z_score(tf.cast(inputs[name], tf.float32)), default=0.0)
    for name, values in CATEGORIES.items():
        ids = tft.compute_and_apply_vocabulary(inputs[name], num_oov_buckets=1, vocab_filename=name)
        features[name] = tf.one_hot(dense(ids, default=-1)[:, 0], values + 1)
    return features
