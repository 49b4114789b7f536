"""Find the files of raw examples, and read the schema that describes their columns."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx import types

ROLES = ("group", "weight")  # of columns besides the label that are neither features nor inputs of a model
SCHEMA = "schema.pbtxt"  # the file of a Schema artifact
_WITHHELD = "withheld.json"
_BATCH_ROWS = 8192
# Stages of the columns that TFX gives to no node, as in tfx_bsl's `tensor_representation_util`.
_UNREAD = frozenset({"PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED", "VALIDATION_DERIVED"})


def split_files(examples: list[types.Artifact], split: str) -> list[str]:
    """Return the files of a split, sorted: GZIP TFRecord files of tf.Example."""
    import tensorflow as tf
    from tfx.types import artifact_utils

    return sorted(f for uri in artifact_utils.get_split_uris(examples, split) for f in tf.io.gfile.glob(f"{uri}/*"))


def cells_in_records(files: Sequence[str], kinds: Mapping[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the records of files in batches, with the cells of some columns, SparseTensors [batch, any] by column.

    Args:
        files: GZIP TFRecord files of tf.Example.
        kinds: TensorFlow's type by column; empty for the records alone.
    """
    import tensorflow as tf

    spec = {name: tf.io.VarLenFeature(kind) for name, kind in kinds.items()}
    for records in tf.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH_ROWS):
        yield records, tf.io.parse_example(records, spec) if spec else {}


def load_schema(schema: list[types.Artifact]) -> Any:
    """Read the only Schema artifact of an input as TensorFlow Metadata's Schema."""
    import tensorflow_data_validation as tfdv
    from tfx.types import artifact_utils

    return tfdv.load_schema_text(str(Path(artifact_utils.get_single_uri(schema), SCHEMA)))


def unread_columns(schema: Any) -> frozenset[str]:
    """Return the columns that TFX gives to no node because of their stage, such as DEPRECATED.

    Args:
        schema: TensorFlow Metadata's Schema.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    return frozenset(f.name for f in schema.feature if schema_pb2.LifecycleStage.Name(f.lifecycle_stage) in _UNREAD)


def clear_stage(schema: Any, columns: Collection[str]) -> None:
    """Clear the stage of some columns in a schema, so that TFX reads them.

    Args:
        schema: TensorFlow Metadata's Schema.
        columns: names of columns; the schema need not have them.
    """
    for feature in schema.feature:
        if feature.name in columns:
            feature.ClearField("lifecycle_stage")


def list_columns(schema: Any) -> frozenset[str]:
    """Return the columns of which a row may have any number of values: their `value_count` allows several.

    Args:
        schema: TensorFlow Metadata's Schema.
    """
    return frozenset(
        feature.name
        for feature in schema.feature
        if feature.HasField("value_count") and feature.value_count.max != 1 and not feature.HasField("shape")
    )


def single_columns(schema: Any) -> frozenset[str]:
    """Return the columns of which a row has one value or none, as their `value_count` says.

    Args:
        schema: TensorFlow Metadata's Schema.
    """
    return frozenset(
        feature.name for feature in schema.feature if feature.value_count.max == 1 and not feature.HasField("shape")
    )


@functools.cache
def list_feature() -> Any:
    """Return the class for such a column in a parsing spec: VarLenFeature, which also stands for 0 or 1 values."""
    import tensorflow as tf

    class ListFeature(tf.io.VarLenFeature):
        """A column with any number of values per row."""

    return ListFeature


def feature_spec(transform: Any) -> dict[str, Any]:
    """Return the parsing spec of the raw features, in which a list is a `list_feature`.

    Args:
        transform: TFT's TFTransformOutput.
    """
    import tensorflow as tf

    lists = list_columns(transform.raw_metadata.schema)
    return {
        name: list_feature()(spec.dtype) if name in lists and isinstance(spec, tf.io.VarLenFeature) else spec
        for name, spec in transform.raw_feature_spec().items()
    }


def write_withheld(folder: str, columns: Mapping[str, str]) -> None:
    """Write the columns with a role, by role, into the folder of Transform's graph; nothing if there are none."""
    if columns:
        Path(folder, _WITHHELD).write_text(json.dumps(columns))


def withheld(transform: Any) -> dict[str, str]:
    """Return the columns with a role, by role, see `ROLES`.

    Args:
        transform: TFT's TFTransformOutput.
    """
    file = Path(transform.transform_savedmodel_dir).parent / _WITHHELD
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def input_spec(transform: Any) -> dict[str, Any]:
    """Return the parsing spec of the raw features and the label, without other columns that no request has."""
    columns = set(withheld(transform).values())
    return {name: spec for name, spec in feature_spec(transform).items() if name not in columns}


def request_spec(transform: Any, label: str) -> dict[str, Any]:
    """Return the parsing spec of the columns that a request has: `input_spec` without the label."""
    return {name: spec for name, spec in input_spec(transform).items() if name != label}


def is_list(spec: Any) -> bool:
    """Return True if a row may have any number of values."""
    return isinstance(spec, list_feature())


def input_shape(spec: Any) -> list[int | None]:
    """Return the shape of a column as an input of a model: [batch], or [batch, n] if a row has several values."""
    if is_list(spec):
        return [None, None]
    shape = list(getattr(spec, "shape", None) or [])
    return [None] if shape in ([], [1]) else [None, *shape]


def column_types(schema: Any) -> dict[str, Any]:
    """Return TensorFlow's type of each column of a schema; columns of other types are left out."""
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}
    return {feature.name: kinds[feature.type] for feature in schema.feature if feature.type in kinds}


def type_in_records(files: Sequence[str], column: str) -> Any:
    """Return TensorFlow's type of a column in the first record that has it; None if no record does.

    Args:
        files: GZIP TFRecord files of tf.Example; no schema is needed.
        column: name of the column.
    """
    import tensorflow as tf

    kinds = {"bytes_list": tf.string, "float_list": tf.float32, "int64_list": tf.int64}
    for record in tf.data.TFRecordDataset(list(files), compression_type="GZIP"):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        if column in features and (kind := features[column].WhichOneof("kind")):
            return kinds[kind]
    return None


def has_value(values: Any) -> Any:
    """Return a mask of the values of a column that are one: '' and NaN are missing cells."""
    import tensorflow as tf

    if values.dtype.is_floating:
        return tf.math.is_finite(values)
    return tf.not_equal(values, "") if values.dtype == tf.string else tf.ones_like(values, tf.bool)
