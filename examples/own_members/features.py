"""The features: what every member sees of a row."""

import tensorflow as tf
import tensorflow_transform as tft

from benison import dense

ISLANDS = 3


def preprocessing_fn(inputs):
    """Return float32 features [batch, n]; the label is added by Benison."""
    length, depth, flipper, mass = (
        dense(tft.scale_to_z_score(tf.cast(inputs[name], tf.float32)), default=0.0)  # missing: the mean
        for name in ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
    )
    island = dense(tft.compute_and_apply_vocabulary(inputs["island"]), default=-1)
    return {
        "measures": tf.concat([length, depth, flipper, mass], axis=1),
        "bill": tf.concat([length - depth, length + depth], axis=1),  # in standard deviations
        "island": tf.one_hot(island[:, 0], ISLANDS),
    }
