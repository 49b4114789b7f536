"""Write scikit-learn's 1,797 digits as PNG files in a TFRecord, a common format for pictures."""

from __future__ import annotations

from pathlib import Path


def write(folder: Path) -> None:
    """Write `digits.tfrecord`: tf.Examples of `image` (PNG bytes, 8x8 pixels, grey) and `digit` (0 to 9)."""
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    with tf.io.TFRecordWriter(str(folder / "digits.tfrecord")) as writer:
        for pixels, digit in zip(digits.images, digits.target, strict=True):
            png = tf.io.encode_png((pixels[..., None] * 255 / 16).astype(np.uint8)).numpy()
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png])),
                "digit": tf.train.Feature(int64_list=tf.train.Int64List(value=[digit])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
