"""Exports the SavedModel of a member or of the ensemble, with these signatures.

| signature            | input                                                        | output                         |
|----------------------|--------------------------------------------------------------|--------------------------------|
| `serving_default`    | `examples`: string [batch], serialised tf.Example            | the prediction                 |
| `raw`                | one tensor [batch] per raw feature; missing is '', NaN or -1 | the prediction                 |
| `transformed`        | one tensor [batch, n] per transformed feature                | the prediction                 |
| `transform_features` | `examples`                                                   | transformed features and label |
| `label`              | `examples`                                                   | only the label, for TFMA       |
| `members`            | same as `raw`; only the ensemble has this signature          | one output per member, by name |

If TensorFlow does not accept the name of a raw feature, `raw` and `members` use another one; see
`benison.serving.signature_names`.

The prediction is `probabilities` float32 [batch, classes] with `classes` string [batch, classes], or
`prediction` float32 [batch, outputs].

The schema of the raw features is in `assets.extra/`, TensorFlow's folder for files that are not part of the graph.

Keras's ExportArchive writes the model, because TFMA, TensorFlow's v1 loader (and so TF Serving) and BulkInferrer can
all restore it; the models of other exporters that were tried fail in at least one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components.train.member import class_names, feature_spec
from benison.components.transform import LABEL
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import SCHEMA

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft

Tensors = dict[str, Any]


def export(
    folder: str,
    transform: tft.TFTransformOutput,
    label: str,
    predict: Callable[[Tensors], tf.Tensor],
    tracked: Sequence[Any],
    members: Callable[[Tensors], Mapping[str, tf.Tensor]] | None = None,
) -> None:
    """Write a SavedModel with the signatures above.

    Args:
        folder: target folder; it is created if necessary.
        transform: Transform's graph, which becomes part of the model.
        label: name of the raw label, which requests do not contain.
        predict: from transformed features [batch, n] to probabilities [batch, classes] or predictions [batch, outputs].
        tracked: models and loaded SavedModels whose variables and tables belong in it.
        members: from transformed features to each member's output by its name.
    """
    import keras
    import tensorflow as tf

    apply_transform, transform_graph = _load_transform(transform)
    names = class_names(transform)
    labelled_spec = transform.raw_feature_spec()
    raw_spec = {name: spec for name, spec in labelled_spec.items() if name != label}
    arguments = argument_names(raw_spec)

    def answer(transformed: Tensors) -> Tensors:
        values = predict(transformed)
        if not names:
            return {"prediction": values}
        return {"probabilities": values, "classes": tf.tile(tf.constant([names]), [tf.shape(values)[0], 1])}

    def from_raw(inputs: Tensors) -> Tensors:
        return _as_columns(
            apply_transform(
                {name: _as_transform_input(inputs[arguments[name]], spec) for name, spec in raw_spec.items()}
            )
        )

    def serving_default(examples: tf.Tensor) -> Tensors:
        return answer(_as_columns(apply_transform(tf.io.parse_example(examples, raw_spec))))

    def transform_features(examples: tf.Tensor) -> Tensors:
        return dict(apply_transform(tf.io.parse_example(examples, labelled_spec)))

    # A separate signature for TFMA: in its slices, transformed features would hide raw features of the same name.
    def label_only(examples: tf.Tensor) -> Tensors:
        return {LABEL: transform_features(examples)[LABEL]}

    examples_spec = [tf.TensorSpec([None], tf.string, name="examples")]
    raw = [
        {arguments[name]: tf.TensorSpec([None], spec.dtype, name=arguments[name]) for name, spec in raw_spec.items()}
    ]
    transformed_spec = [
        {
            name: tf.TensorSpec([None, *(spec.shape or [1])], spec.dtype, name=name)
            for name, spec in feature_spec(transform).items()
        }
    ]
    archive = keras.export.ExportArchive()
    for resource in (transform_graph, *tracked):
        archive.track(resource)
    archive.add_endpoint("serving_default", serving_default, examples_spec)
    archive.add_endpoint("raw", lambda inputs: answer(from_raw(inputs)), raw)
    archive.add_endpoint("transformed", answer, transformed_spec)
    archive.add_endpoint("transform_features", transform_features, examples_spec)
    archive.add_endpoint("label", label_only, examples_spec)
    if members is not None:
        archive.add_endpoint("members", lambda inputs: dict(members(from_raw(inputs))), raw)
    archive.write_out(folder, verbose=False)
    _write_schema(Path(folder, SCHEMA), transform.raw_metadata.schema, label)


def _load_transform(transform: tft.TFTransformOutput) -> tuple[Callable[[Tensors], Tensors], Any]:
    """Load Transform's graph.

    `TFTransformOutput.transform_features_layer` would do, but it is a tf_keras model: an export then traces that model
    once more, by AutoGraph, which takes longer than all signatures.

    Returns:
        A function from raw to transformed features, and the object that holds the variables and tables of the graph.
    """
    import tensorflow as tf
    from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

    loader = SavedModelLoader(transform.transform_savedmodel_dir)
    holder = tf.Module()
    holder.loaded = loader.__dict__  # as TFT's own layer does it
    return loader.apply_transform_model, holder


def _write_schema(file: Path, schema: Any, label: str) -> None:
    """Write the schema of the raw features beside the SavedModel, so that a server knows types and values of inputs."""
    from google.protobuf import text_format

    raw_schema = type(schema)()
    raw_schema.CopyFrom(schema)
    del raw_schema.feature[:]
    raw_schema.feature.extend(feature for feature in schema.feature if feature.name != label)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text_format.MessageToString(raw_schema, as_utf8=True), encoding="utf-8")


def _as_columns(features: Mapping[str, Any]) -> Tensors:
    """Reshape scalars [batch] to [batch, 1], the shape of Keras inputs."""
    import tensorflow as tf

    return {name: tf.expand_dims(v, -1) if v.shape.rank == 1 else v for name, v in features.items()}


def _as_transform_input(values: tf.Tensor, spec: Any) -> Any:
    """Convert a raw column [batch] to an input of Transform's graph: sparse if the schema allows missing values."""
    import tensorflow as tf

    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(values, [-1, 1])
    if values.dtype == tf.string:
        present = tf.not_equal(values, "")
    elif values.dtype.is_floating:
        present = tf.math.logical_not(tf.math.is_nan(values))
    else:
        present = tf.not_equal(values, -1)
    rows = tf.where(present)
    indices = tf.concat([rows, tf.zeros_like(rows)], axis=1)
    shape = tf.stack([tf.shape(values, out_type=tf.int64)[0], tf.constant(1, tf.int64)])
    return tf.SparseTensor(indices, tf.boolean_mask(values, present), shape)
