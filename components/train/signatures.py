"""Exports the SavedModel of a member or of the ensemble, with these signatures.

| signature            | input                                                        | output                         |
|----------------------|--------------------------------------------------------------|--------------------------------|
| `serving_default`    | `examples`: string [batch], serialised tf.Example            | the prediction                 |
| `raw`                | one tensor [batch] per raw feature                           | the prediction                 |
| `packed`             | one tensor [batch, features] per type                        | the prediction                 |
| `transformed`        | one tensor [batch, n] per transformed feature                | the prediction                 |
| `transform_features` | `examples`                                                   | transformed features and label |
| `label`              | `examples`                                                   | only the label, for TFMA       |
| `members`            | same as `raw`; only the ensemble has this signature          | one output per member, by name |

`packed` exists if each raw feature has one value per row. Its inputs are named by their types, such as `float32`, and
`raw_inputs.json` has the inputs of `raw` that they consist of, in their order. Few tensors are quicker to send.

The input `examples` has another name if a column is called so. If TensorFlow does not accept the name of a feature,
`raw`, `members` and `transformed` use another one; see `benison.serving.signature_names`. The value that stands for a
missing cell is in `benison.serving.missing_values`.

The prediction is `probabilities` float32 [batch, classes] with `classes` string [batch, classes], or
`prediction` float32 [batch, outputs]. Classes are in the order of `benison.components.label_classes`. An ensemble of
classifiers also has `decision` string [batch], the class by the threshold or, without one, the most likely class.

The schema of the raw features is in `assets.extra/`, TensorFlow's folder for files that are not part of the graph, and
so is `raw_inputs.json`, which names the value for a missing cell of each input.

Keras's ExportArchive writes the model, because TFMA, TensorFlow's v1 loader (and so TF Serving) and BulkInferrer can
all restore it; the models of other exporters that were tried fail in at least one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components import raw_examples
from benison.components.raw_columns import filled_columns
from benison.components.train.member import class_names, whole_feature_spec
from benison.components.transform import LABEL, as_columns
from benison.components.transform_graph import TransformGraph
from benison.serving import missing_values
from benison.serving.missing_values import marker
from benison.serving.signature_names import argument_names, examples_name
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
    decide: Callable[[tf.Tensor, Sequence[str]], tf.Tensor] | None = None,
) -> None:
    """Write a SavedModel with the signatures above.

    Args:
        folder: target folder; it is created if necessary.
        transform: Transform's graph, which becomes part of the model.
        label: name of the raw label, which requests do not contain.
        predict: from transformed features [batch, n] to probabilities [batch, classes] or predictions [batch, outputs].
        tracked: models and loaded SavedModels whose variables and tables belong in it.
        members: from transformed features to each member's output by its name.
        decide: from probabilities [batch, classes] and the classes to the decision, string [batch].
    """
    import keras
    import tensorflow as tf

    graph = TransformGraph(transform)
    names = class_names(transform)
    labelled_spec = raw_examples.feature_spec(transform)
    raw_spec = raw_examples.request_spec(transform, label)
    # The schema also names the label and the columns that are left out; a request may contain them.
    columns = [feature.name for feature in transform.raw_metadata.schema.feature]
    described = raw_inputs(raw_spec, columns)
    packed = packed_inputs(described)
    arguments = missing_values.arguments(described)
    transformed_spec = whole_feature_spec(transform)
    transformed_arguments = argument_names(transformed_spec)

    def answer(transformed: Tensors) -> Tensors:
        values = predict(transformed)
        if not names:
            return {"prediction": values}
        classes = tf.tile(tf.constant([names]), [tf.shape(values)[0], 1])
        decision = {} if decide is None else {"decision": decide(values, names)}
        return {"probabilities": values, "classes": classes, **decision}

    # The signatures differ only at their inputs. What they share is a function of the graph that they call: it is
    # traced, written and loaded once.
    answered = _Shared(answer)
    extended = _Shared(lambda columns: as_columns(graph.extend(columns)))

    def transformed_from(columns: Tensors) -> Tensors:
        required = {n: values for n, values in columns.items() if isinstance(raw_spec[n], tf.io.FixedLenFeature)}
        _refuse_missing_integers(required)
        return features_of(columns)

    def features_of(columns: Tensors) -> Tensors:
        sparse = {name: v for name, v in columns.items() if isinstance(v, tf.SparseTensor) and graph.is_dense(name)}
        transformed = extended({**columns, **filled_columns(sparse)})
        return {name: transformed[name] for name in transformed_spec}

    def from_raw(inputs: Tensors) -> Tensors:
        columns = _as_matrices({name: inputs[arguments[name]] for name in raw_spec})
        return transformed_from(
            {name: _as_transform_input(columns[name], spec, graph.is_dense(name)) for name, spec in raw_spec.items()}
        )

    def from_packed(inputs: Tensors) -> Tensors:
        parts = {dtype: tf.split(inputs[dtype], len(order), axis=1) for dtype, order in packed.items()}
        return from_raw(
            {name: part for dtype, order in packed.items() for name, part in zip(order, parts[dtype], strict=True)}
        )

    def from_transformed(inputs: Tensors) -> Tensors:
        return answered({name: inputs[argument] for name, argument in transformed_arguments.items()})

    def serving_default(examples: tf.Tensor) -> Tensors:
        return answered(transformed_from(tf.io.parse_example(examples, raw_spec)))

    def transform_features(examples: tf.Tensor) -> Tensors:
        columns = tf.io.parse_example(examples, labelled_spec)
        others = graph.extend({name: values for name, values in columns.items() if name not in raw_spec})
        return {**others, **features_of({name: columns[name] for name in raw_spec})}

    # A separate signature for TFMA: in its slices, transformed features would hide raw features of the same name.
    def label_only(examples: tf.Tensor) -> Tensors:
        return {LABEL: graph.extend(tf.io.parse_example(examples, {label: labelled_spec[label]}))[LABEL]}

    examples_spec = [tf.TensorSpec([None], tf.string, name=examples_name(columns))]
    raw = [
        {
            arguments[name]: tf.TensorSpec(raw_examples.input_shape(spec), spec.dtype, name=arguments[name])
            for name, spec in raw_spec.items()
        }
    ]
    transformed = [
        {
            transformed_arguments[name]: tf.TensorSpec(
                [None, *(spec.shape or [1])], spec.dtype, name=transformed_arguments[name]
            )
            for name, spec in transformed_spec.items()
        }
    ]
    archive = keras.export.ExportArchive()
    for resource in (graph.holder, *tracked):
        archive.track(resource)
    archive.add_endpoint("serving_default", serving_default, examples_spec)
    archive.add_endpoint("raw", lambda inputs: answered(from_raw(inputs)), raw)
    if packed:
        spec = {
            dtype: tf.TensorSpec([None, len(order)], tf.as_dtype(dtype), name=dtype) for dtype, order in packed.items()
        }
        archive.add_endpoint("packed", lambda inputs: answered(from_packed(inputs)), [spec])
    archive.add_endpoint("transformed", from_transformed, transformed)
    archive.add_endpoint("transform_features", transform_features, examples_spec)
    archive.add_endpoint("label", label_only, examples_spec)
    if members is not None:
        archive.add_endpoint("members", lambda inputs: dict(members(from_raw(inputs))), raw)
    archive.write_out(folder, verbose=False)
    _write_schema(Path(folder, SCHEMA), transform.raw_metadata.schema, label)
    missing_values.write(Path(folder), described, packed)


class _Shared:
    """A function of features by name that several signatures call; it is traced once for all inputs of the same types.

    A function that TensorFlow traces in a signature would be a part of that signature, and traced again when it is
    saved.
    """

    def __init__(self, function: Callable[[Tensors], Tensors]) -> None:
        self._function = function
        self._traced: list[tuple[Any, Any]] = []

    def __call__(self, values: Tensors) -> Tensors:
        import tensorflow as tf

        types = {name: tf.type_spec_from_value(value) for name, value in values.items()}
        traced = next((traced for of_types, traced in self._traced if of_types == types), None)
        if traced is None:
            with tf.init_scope():
                traced = tf.function(self._function, autograph=False).get_concrete_function(types)
            self._traced.append((types, traced))
        return dict(traced(values))


def packed_inputs(described: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the inputs of `raw` in each input of `packed`; empty if a column has several values per row.

    Args:
        described: see `raw_inputs`.
    """
    if any("shape" in column for column in described.values()):
        return {}
    types = sorted({column["type"] for column in described.values()})
    return {dtype: sorted(name for name, column in described.items() if column["type"] == dtype) for dtype in types}


def raw_inputs(raw_spec: Mapping[str, Any], columns: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Describe the inputs of `raw`, see `benison.serving.missing_values.describe`.

    Args:
        raw_spec: parsing spec of the raw features, without the label.
        columns: all columns of the data, whose names no other input gets.
    """
    import tensorflow as tf

    arguments = argument_names(raw_spec, columns)
    described = missing_values.describe(
        {
            arguments[name]: (
                name,
                spec.dtype.name,
                not isinstance(spec, tf.io.FixedLenFeature) and not raw_examples.is_list(spec),
            )
            for name, spec in raw_spec.items()
        }
    )
    for name, spec in raw_spec.items():
        shape = raw_examples.input_shape(spec)
        if len(shape) > 1:  # a list is never missing, only empty: it is filled up with the value for a missing cell
            described[arguments[name]]["shape"] = shape[1:]
    return described


def _write_schema(file: Path, schema: Any, label: str) -> None:
    """Write the schema of the raw features beside the SavedModel, so that a server knows types and values of inputs."""
    from google.protobuf import text_format

    raw_schema = type(schema)()
    raw_schema.CopyFrom(schema)
    del raw_schema.feature[:]
    raw_schema.feature.extend(feature for feature in schema.feature if feature.name != label)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text_format.MessageToString(raw_schema, as_utf8=True), encoding="utf-8")


def _refuse_missing_integers(required: Tensors) -> None:
    """Add to the graph: a run fails if a required integer column has the value that stands for a missing cell.

    In the graph, so that every server and client refuses such a row, TensorFlow Serving too. All columns share the few
    operations, because they are part of the latency of each request.
    """
    import tensorflow as tf

    required = {
        name: values
        for name, values in sorted(required.items(), key=lambda column: (not _is_matrix_of_one(column[1]), column[0]))
        if values.dtype.is_integer
    }
    if not required:
        return
    missing = marker(next(iter(required.values())).dtype.name)
    single = [values for values in required.values() if _is_matrix_of_one(values)]
    several = [tf.reduce_any(tf.equal(v, missing)) for v in required.values() if not _is_matrix_of_one(v)]
    of_single = [tf.reduce_any(tf.equal(tf.concat(single, axis=1), missing), axis=0)] if single else []
    wrong = tf.concat([*of_single, *([tf.stack(several)] if several else [])], axis=0)
    tf.debugging.Assert(
        tf.logical_not(tf.reduce_any(wrong)),
        [
            f"got {missing}, which stands for a missing whole number, but every row needs a value; columns:",
            tf.boolean_mask(list(required), wrong),
        ],
        summarize=len(required),
    )


def _is_matrix_of_one(values: tf.Tensor) -> bool:
    return values.shape.rank == 2 and values.shape[1] == 1


def _as_matrices(columns: Tensors) -> Tensors:
    """Return the columns [batch] as [batch, 1]; those of a type share two operations, however many they are."""
    import tensorflow as tf

    alike: dict[Any, list[str]] = {}
    for name, values in columns.items():
        if values.shape.rank == 1:
            alike.setdefault(values.dtype, []).append(name)
    matrices = {
        name: part
        for names in alike.values()
        for name, part in zip(
            names, tf.split(tf.stack([columns[name] for name in names], axis=1), len(names), axis=1), strict=True
        )
    }
    return {**columns, **matrices}


def _as_transform_input(values: tf.Tensor, spec: Any, is_dense: bool) -> Any:
    """Convert a raw column to an input of Transform's graph.

    A column that may have missing values is sparse, if the graph does not take it as a dense one. All cells are in the
    sparse column; Transform's graph leaves out those that are missing.

    Args:
        values: an input of `raw`, at least of rank 2; see `_as_matrices`.
        spec: the parsing spec of the column.
        is_dense: see `TransformGraph.is_dense`.
    """
    import tensorflow as tf

    is_required = isinstance(spec, tf.io.FixedLenFeature)
    if is_dense or (is_required and len(raw_examples.input_shape(spec)) == 1):
        return values
    if is_required:
        return tf.reshape(values, [-1, *(spec.shape or [1])])
    if raw_examples.is_list(spec):
        shape = tf.shape(values, out_type=tf.int64)
        return tf.SparseTensor(tf.where(tf.fill(shape, True)), tf.reshape(values, [-1]), shape)
    values = tf.reshape(values, [-1])
    rows = tf.range(tf.shape(values, out_type=tf.int64)[0])
    indices = tf.stack([rows, tf.zeros_like(rows)], axis=1)
    return tf.SparseTensor(indices, values, tf.stack([tf.shape(values, out_type=tf.int64)[0], 1]))
