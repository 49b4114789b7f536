"""Example requests for a version: a row of the pipeline's examples, or one that fits its schema."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benison.serving import missing_values
from benison.serving.number_text import finite_number, whole_number
from benison.serving.predict import Row
from benison.serving.server.pages.model_info import ModelInfo
from benison.serving.server.pages.model_info import read as read_model_info
from benison.serving.signature_names import argument_names
from benison.serving.versions.input_columns import InputColumn
from benison.serving.versions.local import SAVED_MODEL, Version

SIGNATURE = "raw"


def curl(address: str, name: str, instance: Mapping[str, Any] | None) -> str:
    """Return a curl command.

    Args:
        address: Address of the REST API, such as `localhost:8501`.
        name: Name of the model.
        instance: A row for the signature `raw`; None if the model has no such signature: the command then requests the
            metadata.
    """
    if instance is None:
        return f"curl http://{address}/v1/models/{name}/metadata"
    body = json.dumps({"signature_name": SIGNATURE, "instances": [dict(instance)]}, ensure_ascii=False)
    return f"curl http://{address}/v1/models/{name}:predict -d {shlex.quote(body)}"


def instance(version: Version, rows: Sequence[Row] = ()) -> dict[str, Any] | None:
    """Return values for the inputs of the signature `raw`, by the names of the columns, which Benison's server takes.

    A version of an older Benison does not tell the names; then they are those of the inputs.

    Args:
        version: A pushed version.
        rows: Examples as text; the first row without missing values is used. Features may be missing.

    Returns:
        The values; None if the version has no such signature.
    """
    types = _input_types(version)
    if not types:
        return None
    missing = frozenset(version.manifest.missing)
    described = missing_values.read_inputs(version.path) or {}
    arguments = missing_values.arguments(described)
    renamed = [
        {argument: row[name] for name, argument in (arguments or argument_names(row)).items() if name in row}
        for row in rows
    ]
    complete = [
        row for row in renamed if types.keys() <= row.keys() and missing.isdisjoint(row[name] for name in types)
    ]
    columns = {name: described[name]["column"] if name in described else name for name in types}
    amounts, decimal = version.manifest.amounts, version.manifest.decimal
    for row in complete:
        try:
            return {
                columns[name]: _convert(kind, row[name], amounts.get(columns[name], decimal))
                for name, kind in types.items()
            }
        except ValueError:  # the file of examples is older than the model
            continue
    generated = _generate(types, read_model_info(str(version.path)))
    lengths = {name: described.get(name, {}).get("shape", []) for name in types}
    return {columns[n]: [value] * (lengths[n][0] or 1) if lengths[n] else value for n, value in generated.items()}


def _generate(types: Mapping[str, str], info: ModelInfo) -> dict[str, Any]:
    examples = info.examples.get(SIGNATURE, {})
    return {
        name: examples[name]
        if examples.get(name) is not None
        else _plausible(kind, info.columns.get(name, InputColumn(name)))
        for name, kind in types.items()
    }


def _plausible(kind: str, column: InputColumn) -> Any:
    """Return a value that the schema allows: the first of its choices, or the middle of its range."""
    if kind == "string":
        return column.choices[0] if column.choices else ""
    bounds = [bound for bound in (column.low, column.high) if bound is not None]
    return _convert(kind, sum(bounds) / len(bounds) if bounds else 0)


def _convert(kind: str, value: Any, form: str = ".") -> Any:
    """Convert a value, or a text that writes numbers in a form, to the JSON type for a TensorFlow type.

    Raises:
        ValueError: The value is not of that type.
    """
    if kind == "string":
        return str(value)
    is_float = kind.startswith(("float", "bfloat"))
    if isinstance(value, str):
        return finite_number(value, form) if is_float else whole_number(value, form)
    return float(value) if is_float else int(value)


def _input_types(version: Version) -> dict[str, str]:
    """Return TensorFlow's type names of the inputs of `raw`, sorted by input, without loading the model."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((version.path / SAVED_MODEL).read_bytes())
    inputs = model.meta_graphs[0].signature_def[SIGNATURE].inputs
    return {name: tf.dtypes.as_dtype(info.dtype).name for name, info in sorted(inputs.items())}
