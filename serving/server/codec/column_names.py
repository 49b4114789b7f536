"""Reads predict requests with the columns' own names, such as `sepal length (cm)`, which TensorFlow does not allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import json_tensors
from benison.serving.server.engine import Signature
from benison.serving.server.status import RequestError

if TYPE_CHECKING:
    import numpy as np


def read_inputs(document: Mapping[str, Any], signature: Signature) -> tuple[dict[str, np.ndarray[Any, Any]], bool]:
    """Read the tensors of a predict request, in which columns have their own names or those of the signature.

    A request is first read with the names of the signature, so that it does not pay for other names. The second time,
    messages contain the columns' own names.

    Args:
        document: the request.
        signature: the requested signature.

    Returns:
        The tensors by input, and whether the answer must be in row form.

    Raises:
        RequestError: The request breaks a rule; see `json_tensors.read_inputs`.
    """
    try:
        return json_tensors.read_inputs(document, signature.inputs, signature.missing)
    except RequestError:
        if not signature.columns:
            raise
    own = {argument: column for column, argument in signature.columns.items()}
    tensors, row_form = json_tensors.read_inputs(
        {**document, **{key: _rename(document[key], own) for key in ("instances", "inputs") if key in document}},
        {own.get(name, name): spec for name, spec in signature.inputs.items()},
        {own.get(name, name): value for name, value in signature.missing.items()},
    )
    return {signature.columns.get(name, name): values for name, values in tensors.items()}, row_form


def rows_by_input(rows: Sequence[Any], signature: Signature) -> Sequence[Any]:
    """Return rows of JSON by the names of the signature; the same object if these are the columns' own names."""
    if not signature.columns:
        return rows
    return [_rename(row, signature.columns) for row in rows]


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    """Rename the keys of an object, or of each object in a list; a name stays if the object also has the new one."""
    if isinstance(value, list):
        return [_rename(row, names) if isinstance(row, dict) else row for row in value]
    if not isinstance(value, dict):
        return value
    return {(name if (new := names.get(name, name)) in value else new): content for name, content in value.items()}
