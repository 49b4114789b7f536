"""The columns of a version's inputs, from the schema of the data in its folder: types, allowed values, limits.

The model server's pages show them, and `benison.serving.unseen_values` compares the rows of a prediction with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benison.serving import missing_values, proto_text
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import SCHEMA

_DTYPES = {1: "string", 2: "int64", 3: "float32"}  # by FeatureType
_ENUMS = {"FeatureType": {"TYPE_UNKNOWN": 0, "BYTES": 1, "INT": 2, "FLOAT": 3, "STRUCT": 4}}
# The part of TensorFlow Metadata's Schema that is read here.
_MESSAGES: proto_text.Messages = {
    "Schema": {"feature": (1, "repeated Feature"), "string_domain": (4, "repeated StringDomain")},
    "Feature": {
        "name": (1, "string"),
        "type": (6, "FeatureType"),
        "domain": (7, "string"),
        "int_domain": (9, "IntDomain"),
        "float_domain": (10, "FloatDomain"),
        "string_domain": (11, "StringDomain"),
        "shape": (23, "FixedShape"),
    },
    "FixedShape": {},
    "IntDomain": {"min": (3, "int64"), "max": (4, "int64")},
    "FloatDomain": {"min": (3, "float"), "max": (4, "float")},
    "StringDomain": {"name": (1, "string"), "value": (2, "repeated string")},
}


@dataclass(frozen=True)
class InputColumn:
    """A raw feature in the schema.

    Attributes:
        name: Name of the column in the data.
        dtype: Type of its values: `string`, `int64` or `float32`.
        choices: Allowed values; empty if any value is allowed.
        low: Smallest allowed number; None if there is no limit.
        high: Largest allowed number; None if there is no limit.
    """

    name: str
    dtype: str = "float32"
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


def schema(folder: Path) -> Any:
    """Return the schema of a version, a message with the fields above; None if it has none.

    Raises:
        UsageError: The file is broken.
    """
    file = folder / SCHEMA
    return proto_text.read(str(file), _schema_class()(), unknown_fields=True) if file.is_file() else None


def read(folder: Path) -> dict[str, InputColumn]:
    """Return the columns by input name in the signatures; empty if the version has no schema.

    Raises:
        BenisonError: A file of the version is broken.
    """
    described = schema(folder)
    if described is None:
        return {}
    inputs = missing_values.read_inputs(folder)
    columns = _columns(described)
    arguments = argument_names(columns) if inputs is None else missing_values.arguments(inputs)
    return {arguments[name]: column for name, column in columns.items() if name in arguments}


def _columns(schema: Any) -> Mapping[str, InputColumn]:
    domains = {domain.name: tuple(domain.value) for domain in schema.string_domain}
    return {feature.name: _column(feature, domains) for feature in schema.feature}


def _column(feature: Any, domains: Mapping[str, tuple[str, ...]]) -> InputColumn:
    limits = feature.int_domain if feature.HasField("int_domain") else feature.float_domain
    return InputColumn(
        name=feature.name,
        dtype=_DTYPES.get(feature.type, "float32"),
        choices=tuple(feature.string_domain.value) or domains.get(feature.domain, ()),
        low=limits.min if limits.HasField("min") else None,
        high=limits.max if limits.HasField("max") else None,
    )


@cache
def _schema_class() -> Any:
    return proto_text.message_class("Schema", _MESSAGES, _ENUMS)
