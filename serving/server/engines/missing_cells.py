"""The values of missing cells in the signatures of a version that Benison pushed; other models have none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.serving import missing_values
from benison.serving.server import text_protos
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import SCHEMA

_TYPES = {1: "string", 2: "int64", 3: "float32"}  # by FeatureType


def read(path: str) -> Mapping[str, Any]:
    """Return the value of a missing cell by input of `raw`.

    Args:
        path: the version's folder.

    Raises:
        BenisonError: A file of the version is broken.
    """
    inputs = missing_values.read_inputs(Path(path))
    return _former(Path(path, SCHEMA)) if inputs is None else missing_values.markers(inputs)


def _former(file: Path) -> dict[str, Any]:
    """Return the values that a version of an older Benison takes, of which only the schema tells."""
    if not file.is_file():
        return {}
    schema = text_protos.read(str(file), text_protos.message_class("Schema")(), unknown_fields=True)
    arguments = argument_names(feature.name for feature in schema.feature)
    return {
        arguments[feature.name]: missing_values.marker(_TYPES[feature.type], missing_values.FORMER_MISSING_INTEGER)
        for feature in schema.feature
        if feature.type in _TYPES and not feature.HasField("shape")  # in TFX, one with a fixed shape is required
    }
