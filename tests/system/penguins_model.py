"""A small penguins ensemble in the layout of a pushed version: SavedModel, schema and manifest, by plain TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

v1 = tf.compat.v1

CLASSES = ["Adelie", "Chinstrap", "Gentoo"]
SCHEMA = """
feature { name: "island" type: BYTES domain: "island" shape { dim { size: 1 } } }
feature { name: "bill length (mm)" type: FLOAT float_domain { min: 20 max: 80 } value_count { min: 1 max: 1 } }
feature { name: "body_mass_g" type: INT int_domain { min: 1500 max: 9000 } value_count { min: 1 max: 1 } }
feature { name: "sex" type: BYTES domain: "sex" value_count { min: 1 max: 1 } }
string_domain { name: "island" value: "Biscoe" value: "Dream" value: "Torgersen" }
string_domain { name: "sex" value: "female" value: "male" }
"""
MANIFEST = {
    "label": "species",
    "members": ["linear", "deep"],
    "combiner": "weighted_mean",
    "weights": {"linear": 1, "deep": 3},
}


def _definition(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    def info(tensors: dict[str, Any]) -> dict[str, Any]:
        return {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}

    return v1.saved_model.build_signature_def(info(inputs), info(outputs), "tensorflow/serving/predict")


def push(folder: Path, base: Path) -> local.Version:
    """Write the model to a folder, and publish it under a base path."""
    with tf.Graph().as_default(), v1.Session() as session:
        island = v1.placeholder(tf.string, [None], "island")
        bill = v1.placeholder(tf.float32, [None], "bill")
        mass = v1.placeholder(tf.int64, [None], "mass")
        sex = v1.placeholder(tf.string, [None], "sex")
        inputs = {"island": island, "bill_length__mm_": bill, "body_mass_g": mass, "sex": sex}
        length = tf.where(tf.math.is_nan(bill), tf.zeros_like(bill), (bill - 44.0) / 5.0)
        weight = tf.where(mass < 0, tf.zeros_like(bill), (tf.cast(mass, tf.float32) - 4200.0) / 800.0)
        dream = tf.cast(tf.equal(island, "Dream"), tf.float32)
        male = tf.cast(tf.equal(sex, "male"), tf.float32)
        linear = tf.nn.softmax(tf.stack([-length, length + dream - weight, weight - dream], 1))
        deep = tf.nn.softmax(2.0 * tf.stack([-length + 0.1 * male, length * dream, tf.tanh(weight)], 1))
        classes = tf.tile([CLASSES], [tf.shape(bill)[0], 1])
        builder = v1.saved_model.Builder(str(folder))
        raw = _definition(inputs, {"classes": classes, "probabilities": 0.25 * linear + 0.75 * deep})
        members = _definition(inputs, {"linear": linear, "deep": deep})
        builder.add_meta_graph_and_variables(session, ["serve"], {"raw": raw, "members": members})
        builder.save()
    (folder / local.SCHEMA).parent.mkdir()
    (folder / local.SCHEMA).write_text(SCHEMA)
    return local.publish(folder, base, Manifest.model_validate(MANIFEST))
