"""A picture as the members see it."""

import tensorflow as tf

from benison import dense

SIDE = 8  # pixels


def preprocessing_fn(inputs):
    """Return `image`: float32 [batch, 8, 8, 1], grey from 0 to 1."""

    def decode(png):
        pixels = tf.io.decode_png(png, channels=1)
        return tf.image.resize(tf.cast(pixels, tf.float32) / 255.0, [SIDE, SIDE])

    images = tf.map_fn(decode, dense(inputs["image"], default="")[:, 0], fn_output_signature=tf.float32)
    return {"image": tf.ensure_shape(images, [None, SIDE, SIDE, 1])}
