"""The features of a picture."""

from __future__ import annotations

from typing import Any

from benison import dense

SIDE = 8  # pixels


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Decode the PNG, so that the server accepts the file itself.

    Args:
        inputs: `image`, string [batch, 1], PNG bytes.

    Returns:
        `image`: float32 [batch, 64], grey values from 0 to 1, row by row.
    """
    import tensorflow as tf

    def decode(png: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_png(png, channels=1)
        return tf.reshape(tf.image.resize(tf.cast(pixels, tf.float32) / 255.0, [SIDE, SIDE]), [SIDE * SIDE])

    images = dense(inputs["image"], default="")[:, 0]
    return {"image": tf.ensure_shape(tf.map_fn(decode, images, fn_output_signature=tf.float32), [None, SIDE * SIDE])}
