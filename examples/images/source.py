"""The source of the data: Benison calls `write` once per ROOT."""

from pathlib import Path

import tensorflow as tf

PICTURES = Path(__file__).with_name("pictures")


def write(folder):
    """Write `pictures.tfrecord`: tf.Examples of `image` (PNG bytes) and `digit` (the folder's name)."""
    with tf.io.TFRecordWriter(str(folder / "pictures.tfrecord")) as writer:
        for file in sorted(PICTURES.glob("*/*.png")):
            features = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.read_bytes()])),
                "digit": tf.train.Feature(bytes_list=tf.train.BytesList(value=[file.parent.name.encode()])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
