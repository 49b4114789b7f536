"""The columns of the inputs that several models take, and the value that stands for a missing cell of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benison.serving import missing_values
from benison.serving.errors import DataError
from benison.serving.seldon.bindings import SavedModel, Server
from benison.serving.seldon.imported_ensemble import ImportedEnsemble
from benison.serving.seldon.interface import PREFERRED_SIGNATURES, Tensor
from benison.serving.versions.local import SCHEMA


def of_ensemble(imported: ImportedEnsemble, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the value of a missing cell by input, as all models say that get the request.

    An input without one needs a value in every row: a model does not say that a cell may be missing, or is on a server.

    Args:
        imported: Spec and bindings.
        inputs: The inputs of the transformer, or of the members if there is none.

    Raises:
        DataError: The models expect different values for one input.
    """
    first = [imported.transformer] if imported.transformer else list(imported.members.values())
    by_model = [_of_model(binding, inputs) for binding in first]
    common: dict[str, Any] = {}
    for name in inputs:
        values = [values[name] for values in by_model if name in values]
        for value in values:
            if not missing_values.is_marker(value, values[0]):
                raise DataError(
                    f"column {name!r}: members expect different values for a missing cell, {values[0]} and {value}; "
                    "export the older member again"
                )
        if len(values) == len(by_model):
            common[name] = values[0]
    return common


def columns_of(imported: ImportedEnsemble, inputs: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the column of each input, as the models that get the request say; the others have the input's name.

    Args:
        imported: Spec and bindings.
        inputs: See `of_ensemble`.

    Raises:
        DataError: One input is another column for another model, so that one request cannot be for both.
    """
    first = [imported.transformer] if imported.transformer else list(imported.members.values())
    columns: dict[str, str] = {}
    for described in map(_described, first):
        for name, value in (described or {}).items():
            if name in inputs and columns.setdefault(name, value["column"]) != value["column"]:
                raise DataError(
                    f"input {name!r}: members expect different columns, {columns[name]!r} and {value['column']!r}; "
                    "train them on the same columns"
                )
    return {name: columns.get(name, name) for name in inputs}


def _described(binding: SavedModel | Server) -> dict[str, dict[str, Any]] | None:
    if isinstance(binding, Server) or binding.signature not in ("", *PREFERRED_SIGNATURES, *missing_values.SIGNATURES):
        return None
    return missing_values.read_inputs(binding.path)


def _of_model(binding: SavedModel | Server, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    if isinstance(binding, Server) or binding.signature not in ("", *PREFERRED_SIGNATURES, *missing_values.SIGNATURES):
        return {}
    described = _described(binding)
    if described is not None:
        return missing_values.markers(described)
    if not (binding.path / SCHEMA).is_file():
        return {}
    former = missing_values.FORMER_MISSING_INTEGER  # an older Benison exported it
    return {name: missing_values.marker(tensor.dtype, former) for name, tensor in inputs.items()}
