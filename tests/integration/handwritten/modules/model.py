"""Trainer's module: a tiny Keras model that takes raw tf.Examples."""

import keras
import tensorflow as tf
import tensorflow_transform as tft
from columns import column  # type: ignore[import-not-found]  # beside this module: TFX packs the folder
from tfx.components.trainer.fn_args_utils import FnArgs


def run_fn(fn_args: FnArgs):
    transform = tft.TFTransformOutput(fn_args.transform_output)
    rows = _dataset(fn_args.train_files, transform)
    inputs = {"x_xf": keras.Input((1,), name="x_xf"), "colour_xf": keras.Input((1,), name="colour_xf")}
    both = keras.layers.Concatenate()([inputs["x_xf"], inputs["colour_xf"]])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(both))
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(rows, epochs=1, steps_per_epoch=fn_args.train_steps, verbose=2)
    _export(model, transform, fn_args.serving_model_dir)


def _dataset(patterns, transform):
    files = tf.data.Dataset.list_files(patterns, shuffle=False)
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").repeat().batch(20)
    spec = transform.transformed_feature_spec()
    return records.map(lambda batch: _features_and_label(batch, spec))


def _features_and_label(batch, spec):
    row = tf.io.parse_example(batch, spec)
    return {name: column(row[name]) for name in ("x_xf", "colour_xf")}, column(row["y_xf"])


def _export(model, transform, folder):
    archive = keras.export.ExportArchive()
    layer = transform.transform_features_layer()
    archive.track(model)
    archive.track(layer)
    spec = {name: kind for name, kind in transform.raw_feature_spec().items() if name != "y"}

    # Without AutoGraph, which would translate the code of Keras and TFT.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")], autograph=False)
    def serve(examples):
        row = layer(tf.io.parse_example(examples, spec))
        return {"probability": model({name: column(row[name]) for name in ("x_xf", "colour_xf")})}

    archive.add_endpoint("serving_default", serve)
    archive.write_out(folder)
