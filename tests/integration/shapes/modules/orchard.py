"""The module of Transform, Tuner, Trainer and Evaluator: rows come in any order, so they are sorted before training."""

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

LABEL = "ripe"
INPUTS = ("weight_xf", "width_xf", "colour_xf", "bucket_xf")


def preprocessing_fn(inputs, custom_config=None):
    buckets = (custom_config or {}).get("buckets", 3)
    return {
        "weight_xf": tft.scale_to_0_1(inputs["weight"]),
        "width_xf": tft.scale_to_0_1(inputs["width"]),
        "colour_xf": tft.compute_and_apply_vocabulary(inputs["colour"], num_oov_buckets=1, vocab_filename="colours"),
        "bucket_xf": tft.bucketize(inputs["weight"], buckets),
        "ripe_xf": inputs[LABEL],
    }


def stats_options_updater_fn(stats_type, options):
    options.num_top_values = 3
    return options


def tuner_fn(fn_args: FnArgs):
    columns, label = _table(fn_args.train_files, tft.TFTransformOutput(fn_args.transform_graph_path))
    space = keras_tuner.HyperParameters()
    space.Choice("rate", [0.01, 0.1])
    space.Int("units", 2, 4)
    search = keras_tuner.RandomSearch(
        _build, objective="loss", max_trials=3, seed=1, hyperparameters=space, directory=fn_args.working_dir,
        project_name="search",
    )  # fmt: skip
    return TunerFnResult(tuner=search, fit_kwargs={"x": columns, "y": label, "batch_size": 1000, "shuffle": False})


def run_fn(fn_args: FnArgs):
    transform = tft.TFTransformOutput(fn_args.transform_output)
    columns, label = _table(fn_args.train_files, transform)
    values = keras_tuner.HyperParameters.from_config(fn_args.hyperparameters) if fn_args.hyperparameters else None
    if values is None:
        values = keras_tuner.HyperParameters()
        values.Fixed("rate", 0.1)
        values.Fixed("units", 3)
    model = _build(values)
    if fn_args.base_model:  # a warm start
        variables = tf.train.load_checkpoint(f"{fn_args.base_model}/variables/variables")
        print("base model with", len(variables.get_variable_to_shape_map()), "entries")
    model.fit(columns, label, batch_size=1000, shuffle=False, epochs=fn_args.train_steps, verbose=2)
    _export(model, transform, fn_args.serving_model_dir)


def _build(values):
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((1,), name=name) for name in INPUTS}
    hidden = keras.layers.Dense(values.get("units"), activation="relu")(keras.layers.Concatenate()([*inputs.values()]))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(optimizer=keras.optimizers.Adam(values.get("rate")), loss="binary_crossentropy")
    return model


def _table(patterns, transform):
    """Return all rows as columns, sorted."""
    files = tf.io.gfile.glob(patterns)
    records = list(tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator())
    row = tf.io.parse_example(records, transform.transformed_feature_spec())
    columns = {name: _column(row[name]).numpy() for name in (*INPUTS, "ripe_xf")}
    order = np.lexsort([column[:, 0] for column in columns.values()])
    columns = {name: column[order] for name, column in columns.items()}
    return columns, columns.pop("ripe_xf")


def _column(values):
    return tf.reshape(tf.cast(values, tf.float32), (-1, 1))


def _export(model, transform, folder):
    archive = keras.export.ExportArchive()
    layer = transform.transform_features_layer()
    archive.track(model)
    archive.track(layer)
    spec = transform.raw_feature_spec()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        raw = tf.io.parse_example(examples, {name: kind for name, kind in spec.items() if name != LABEL})
        row = layer(raw)
        return {"probability": model({name: _column(row[name]) for name in INPUTS})}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform_features(examples):
        return layer(tf.io.parse_example(examples, spec))

    archive.add_endpoint("serving_default", serve)
    archive.add_endpoint("transform_features", transform_features)
    archive.write_out(folder)
