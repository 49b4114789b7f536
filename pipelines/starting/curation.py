"""Create the curated schema: save the schema that SchemaGen infers in a file beside the YAML, for people to edit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
    return Path(schema["uri"], "schema.pbtxt").read_text()


def accept(config: Pipeline, text: str) -> None:
    """Write the curated schema, complete or not at all."""
    path = config.schema_path
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_file.write(path, text)
