"""A helper beside the modules of Transform and Trainer."""

import tensorflow as tf


def column(values):
    return tf.reshape(tf.cast(values, tf.float32), (-1, 1))
