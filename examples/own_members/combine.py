"""A combiner: it must be written with TensorFlow operations, because it becomes part of the served graph."""

import tensorflow as tf


def geometric_mean(outputs):
    """Return the normalised geometric mean of the members' probabilities, float32 [batch, classes].

    Args:
        outputs: probabilities, float32 [batch, classes], by member.
    """
    logs = [tf.math.log(tf.maximum(probabilities, 1e-7)) for probabilities in outputs.values()]
    return tf.nn.softmax(tf.add_n(logs) / len(logs))
