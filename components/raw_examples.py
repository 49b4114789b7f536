"""Find the files of raw examples, and read the schema that describes their columns."""

from __future__ import annotations

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


def column_types(schema: Any) -> dict[str, Any]:
    """Return TensorFlow's type of each column of a schema; columns of other types are left out."""
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}
    return {feature.name: kinds[feature.type] for feature in schema.feature if feature.type in kinds}
