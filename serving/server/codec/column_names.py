"""Reads predict requests with the columns' own names, such as `sepal length (cm)`, which TensorFlow does not allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import json_tensors
from benison.serving.server.engine import Signature
from benison.serving.server.status import RequestError, invalid

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
        tensors, row_form = json_tensors.read_inputs(document, signature.inputs, signature.missing)
    except RequestError:
        if not signature.columns:
            raise
    else:
        return check_rows(tensors, signature), row_form
    own = {name: signature.column_of(name) for name in signature.inputs}
    tensors, row_form = json_tensors.read_inputs(
        {**document, **{key: _rename(document[key], own) for key in ("instances", "inputs") if key in document}},
        {own[name]: spec for name, spec in signature.inputs.items()},
        {own[name]: value for name, value in signature.missing.items()},
    )
    by_input = {signature.columns.get(name, name): values for name, values in tensors.items()}
    return check_rows(by_input, signature), row_form


def check_rows(tensors: dict[str, np.ndarray[Any, Any]], signature: Signature) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors by input, if each has the signature's shape; TensorFlow's message would name no column.

    A single value is a column of one row, as in {"inputs": {"age": 31}}.

    Raises:
        RequestError: An input of Benison's `raw` or `members` has too many lists, or fewer rows than another one.
    """
    if not signature.raw:
        return tensors
    sizes: dict[int, str] = {}
    for name, values in tensors.items():
        shape = signature.inputs[name].shape
        if values.ndim == 0 and shape == (-1,):
            tensors[name] = values = values.reshape(1)
        if shape is not None and not _fits(values.shape, shape):
            expected = "one value per row" if len(shape) == 1 else f"shape {_shape(shape)}"
            raise invalid(
                f"input {signature.column_of(name)}: expected {expected}, got values of shape {_shape(values.shape)}"
            )
        if shape and shape[0] == -1:
            sizes.setdefault(len(values), name)
    if len(sizes) > 1:
        shown = ", ".join(f"{signature.column_of(name)} {rows}" for rows, name in sizes.items())
        raise invalid(f"inputs have different numbers of rows: {shown}")
    return tensors


def _fits(sizes: Sequence[int], shape: Sequence[int]) -> bool:
    return len(sizes) == len(shape) and all(want in (-1, size) for size, want in zip(sizes, shape, strict=True))


def _shape(sizes: Sequence[int]) -> str:
    return f"[{','.join(map(str, sizes))}]"


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
