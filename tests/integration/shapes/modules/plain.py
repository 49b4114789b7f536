"""The module of a Trainer without Transform, with its state at module level."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.utils import io_utils

keras.utils.set_random_seed(7)
DRAWS = np.random.default_rng(7)
SPEC = {
    "weight": tf.io.FixedLenFeature([1], tf.float32),
    "width": tf.io.FixedLenFeature([1], tf.float32),
    "ripe": tf.io.FixedLenFeature([1], tf.int64),
}


def run_fn(fn_args: FnArgs):
    spec = SPEC
    if fn_args.schema_path:
        schema = io_utils.parse_pbtxt_file(fn_args.schema_path, schema_pb2.Schema())
        spec = {
            name: kind
            for name, kind in schema_utils.schema_as_feature_spec(schema).feature_spec.items()
            if name in SPEC
        }
    records = []
    for pattern in fn_args.train_files:
        for file in sorted(tf.io.gfile.glob(pattern)):
            records += tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator()
    row = {name: _column(value).numpy() for name, value in tf.io.parse_example(records, spec).items()}
    order = np.lexsort([column[:, 0] for column in row.values()])
    row = {name: column[order] for name, column in row.items()}
    inputs = {name: keras.Input((1,), name=name) for name in ("weight", "width")}
    model = keras.Model(
        inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()([*inputs.values()]))
    )
    model.layers[-1].set_weights([DRAWS.normal(size=(2, 1)), np.zeros(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="binary_crossentropy")
    label = row.pop("ripe")
    model.fit(
        row, label, batch_size=1000, shuffle=False, epochs=(fn_args.custom_config or {}).get("epochs", 2), verbose=2
    )

    archive = keras.export.ExportArchive()
    archive.track(model)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        row = tf.io.parse_example(examples, {name: kind for name, kind in spec.items() if name != "ripe"})
        return {"probability": model({name: _column(value) for name, value in row.items()})}

    archive.add_endpoint("serving_default", serve)
    archive.write_out(fn_args.serving_model_dir)


def _column(values):
    return tf.reshape(tf.cast(values, tf.float32), (-1, 1))
