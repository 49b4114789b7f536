"""Reads predict requests with the columns' own names, such as `sepal length (cm)`, which TensorFlow does not allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from benison.serving.number_text import finite_number, whole_number
from benison.serving.server.codec import json_tensors
from benison.serving.server.engine import Signature
from benison.serving.server.status import RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

_MAX_AMOUNT = 100  # characters; no amount is longer, and to read a long text as one takes long


def read_inputs(document: Mapping[str, Any], signature: Signature) -> tuple[dict[str, np.ndarray[Any, Any]], bool]:
    """Read the tensors of a predict request, in which columns have their own names or those of the signature.

    A request is first read with the names of the signature and without a look at texts, so that it does not pay for
    anything else. The second time, texts of amounts such as `$1,200` are numbers, as in the pipeline's CSV files, and
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
        if not signature.columns and not signature.amounts:
            raise
    else:
        return check_rows(tensors, signature), row_form
    document = _with_numbers(document, signature)
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


def _with_numbers(document: Mapping[str, Any], signature: Signature) -> Mapping[str, Any]:
    """Return a request in which the texts of amounts are numbers; other texts stay, and are refused where they are."""
    read = {
        name: partial(_number, form=form, whole=not signature.inputs[argument].dtype.startswith("float"))
        for argument, form in signature.amounts.items()
        for name in (argument, signature.column_of(argument))
    }
    changed = dict(document)
    rows, columns = document.get("instances"), document.get("inputs")
    if read and isinstance(rows, list):
        changed["instances"] = [
            {name: read[name](cell) if name in read else cell for name, cell in row.items()}
            if isinstance(row, dict)
            else row
            for row in rows
        ]
    if read and isinstance(columns, dict):
        changed["inputs"] = {name: read[name](cells) if name in read else cells for name, cells in columns.items()}
    return changed


def _number(value: Any, form: str, whole: bool, levels: int = json_tensors.MAX_LEVELS) -> Any:
    """Return the text of an amount, or each one in a list, as a number; lists that are nested too deeply stay."""
    if isinstance(value, list) and levels:
        return [_number(cell, form, whole, levels - 1) for cell in value]
    if not isinstance(value, str) or len(value) > _MAX_AMOUNT:
        return value
    try:
        return whole_number(value, form) if whole else finite_number(value, form)
    except ValueError:
        return value


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
