"""Find the files of raw examples, and read the schema that describes their columns."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tfx import types
from tfx.types import artifact_utils


def split_files(examples: list[types.Artifact], split: str) -> list[str]:
    """Return the files of a split, sorted: GZIP TFRecord files of tf.Example."""
    import tensorflow as tf

    return sorted(f for uri in artifact_utils.get_split_uris(examples, split) for f in tf.io.gfile.glob(f"{uri}/*"))


def load_schema(schema: list[types.Artifact]) -> Any:
    """Read the only Schema artifact of an input as TensorFlow Metadata's Schema."""
    import tensorflow_data_validation as tfdv

    return tfdv.load_schema_text(str(Path(artifact_utils.get_single_uri(schema), "schema.pbtxt")))


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
