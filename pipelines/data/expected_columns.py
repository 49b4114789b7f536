"""The columns that a file must have to land as a span: a run would only find after the landing that one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benison.components import raw_examples
from benison.components.ingest.csv_table import CsvTable, other_delimiter
from benison.serving import proto_text
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


def check(config: Pipeline, table: CsvTable) -> None:
    """Raise DataError if a column is missing; suggest a close name, or the delimiter that the file seems to have.

    Args:
        config: the pipeline's config.
        table: the files of a span.
    """
    header, file = table.header, table.files[0]
    expected = _expected(config)
    missing = [name for name in expected if name not in header]
    if not missing:
        return
    if fault := other_delimiter(table, missing):
        raise DataError(f"{fault}; the span was not added")
    others = [name for name in header if name not in expected]
    faults = [f"no column {name!r}, {expected[name]}{did_you_mean(name, others)}" for name in missing[:5]]
    faults += [f"{len(missing) - 5} more columns are missing"] if len(missing) > 5 else []
    shown = ", ".join(header[:20]) + (", …" if len(header) > 20 else "")
    raise DataError(f"{file}: {'; '.join(faults)} (it has {shown}); the span was not added. Rename or add the columns")


def _expected(config: Pipeline) -> dict[str, str]:
    """Return, by column, why a span needs it."""
    time = {config.data.time: "which data.time names"} if config.data.time else {}
    return {config.label: "the label", **time, **config.withheld, **_of_schema(config)}


def _of_schema(config: Pipeline) -> Mapping[str, str]:
    """Return the columns whose absence is an anomaly that stops a run: those of the curated schema, or of the YAML."""
    severity = config.validation.severity.get("missing_column", "stop")
    if config.schema_path.is_file():
        why, names = f"which {config.schema_path.name} requires", _required(config)
    else:
        why, names = "which `columns` names", [n for n, column in config.columns.items() if column.kind != "ignore"]
    stopping = [name for name in names if config.validation.columns.get(name, severity) == "stop"]
    return {name: why for name in stopping if name not in (config.label, config.data.time)}


def _required(config: Pipeline) -> list[str]:
    """Return the columns of which there must be a value, as the curated schema says."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = proto_text.read(str(config.schema_path), schema_pb2.Schema())
    left_out = raw_examples.unread_columns(schema) - config.used_columns
    return [
        feature.name
        for feature in schema.feature
        if feature.name not in left_out and (feature.presence.min_fraction > 0 or feature.presence.min_count > 0)
    ]
