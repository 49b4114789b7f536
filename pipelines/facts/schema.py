"""Read a schema: the type, presence and domain of each column."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SchemaColumn:
    """A column of a schema.

    Attributes:
        name: the column.
        type: INT, FLOAT or BYTES.
        required: every row has a value.
        domain: the allowed values or the range, as text; '' if any value is allowed.
    """

    name: str
    type: str
    required: bool
    domain: str


def read(folder: Path) -> list[SchemaColumn]:
    """Read an artifact of type Schema.

    Raises:
        OSError: the artifact no longer exists.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    loaded = text_format.Parse((folder / "schema.pbtxt").read_text(encoding="utf-8"), schema_pb2.Schema())
    domains = {domain.name: ", ".join(domain.value) for domain in loaded.string_domain}
    columns = []
    for feature in loaded.feature:
        kind = feature.WhichOneof("domain_info")
        limits = domains.get(feature.domain, "")
        if kind in ("int_domain", "float_domain"):
            bounds = getattr(feature, kind)
            low = f"{bounds.min:g}" if bounds.HasField("min") else ""
            high = f"{bounds.max:g}" if bounds.HasField("max") else ""
            limits = f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}" if high else ""
        elif kind == "string_domain":
            limits = ", ".join(feature.string_domain.value)
        columns.append(
            SchemaColumn(
                feature.name,
                schema_pb2.FeatureType.Name(feature.type),
                feature.presence.min_fraction == 1.0,
                limits,
            )
        )
    return columns
