"""The inputs of `raw` of a version that Benison pushed: missing cells and columns; other models have none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benison.serving import missing_values
from benison.serving.number_text import AMOUNTS
from benison.serving.signature_names import argument_names
from benison.serving.versions import input_columns
from benison.serving.versions.local import MANIFEST

_TYPES = {1: "string", 2: "int64", 3: "float32"}  # by FeatureType


@dataclass(frozen=True)
class RawInputs:
    """The inputs of `raw`.

    Attributes:
        missing: the value of a missing cell by input; required inputs have none.
        arguments: the input of each column.
        amounts: the form of the amounts, by input, in the pipeline's CSV files.
    """

    missing: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    amounts: Mapping[str, str] = field(default_factory=dict)


def read(path: str) -> RawInputs:
    """Return the inputs of `raw`.

    Args:
        path: the version's folder.

    Raises:
        BenisonError: A file of the version is broken.
    """
    inputs = missing_values.read_inputs(Path(path))
    if inputs is None:
        return _former(Path(path))
    arguments = missing_values.arguments(inputs)
    amounts = {arguments[column]: form for column, form in _amounts(Path(path)).items() if column in arguments}
    return RawInputs(missing_values.markers(inputs), arguments, amounts)


def _amounts(folder: Path) -> dict[str, str]:
    """Return the form of the amounts by column, as the manifest has it; empty without a manifest."""
    try:
        amounts = json.loads((folder / MANIFEST).read_bytes()).get("amounts", {})
        return {column: form for column, form in amounts.items() if form in AMOUNTS}
    except (OSError, ValueError, AttributeError, TypeError):  # whether a manifest is damaged is checked elsewhere
        return {}


def _former(folder: Path) -> RawInputs:
    """Return the inputs of a version of an older Benison, of which only the schema tells."""
    schema = input_columns.schema(folder)
    if schema is None:
        return RawInputs()
    arguments = argument_names(feature.name for feature in schema.feature)
    missing = {
        arguments[feature.name]: missing_values.marker(_TYPES[feature.type], missing_values.FORMER_MISSING_INTEGER)
        for feature in schema.feature
        if feature.type in _TYPES and not feature.HasField("shape")  # in TFX, one with a fixed shape is required
    }
    return RawInputs(missing, arguments)
