"""Create the curated schema: save the schema that SchemaGen infers in a file beside the YAML, for people to edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benison.components.label_classes import TAG, LabelSchema, ordered
from benison.pipelines.runner import LocalRunner
from benison.serving.errors import DataError, NodeFailed
from benison.serving.files import atomic_file

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


def inferred(config: Pipeline, root: Path) -> str:
    """Run the pipeline up to the anomaly gate and return the schema that SchemaGen inferred.

    Returns:
        The schema as text (TensorFlow Metadata's Schema, text format).

    Raises:
        DataError, NodeFailed: a node failed.
    """
    run = LocalRunner(root).run_config(config, only_ingest=True)
    for node in run.failed_nodes:
        raise (DataError if node.state == "invalid" else NodeFailed)(f"{node.id}: {node.reason} (log: {node.log})")
    (schema,) = run.outputs("Schema")
    return with_positive(config, Path(schema["uri"], "schema.pbtxt").read_text())


def with_positive(config: Pipeline, text: str) -> str:
    """Add the positive class of a binary problem to a schema, if the YAML or the label's domain says which it is."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    if config.problem != "binary":
        return text
    schema = text_format.Parse(text, schema_pb2.Schema())
    label = LabelSchema.of(schema, config.label)
    positive = config.positive
    if len(label.listed) == 2:
        positive = ordered(config.label, config.problem, (), label, positive).positive
    if positive is None or label.positive is not None:
        return text
    for feature in schema.feature:
        if feature.name == config.label:
            feature.annotation.tag.append(f"{TAG} {positive}")
    return str(text_format.MessageToString(schema, as_utf8=True))


def accept(config: Pipeline, text: str) -> None:
    """Write the curated schema, complete or not at all."""
    path = config.schema_path
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(path, text)
