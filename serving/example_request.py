"""A request to try a version with: a row of the pipeline's examples, or one that fits its schema."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benison.serving.predict import Row
from benison.serving.server.pages.model_info import InputColumn, ModelInfo
from benison.serving.server.pages.model_info import read as read_facts
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import SAVED_MODEL, Version

SIGNATURE = "raw"


def curl(address: str, name: str, instance: Mapping[str, Any] | None) -> str:
    """A line for a shell.

    Args:
        address: of the REST API, such as `localhost:8501`.
        name: the model's.
        instance: a row for the signature `raw`; None where the model has none: what it takes is asked for instead.
    """
    if instance is None:
        return f"curl http://{address}/v1/models/{name}/metadata"
    body = json.dumps({"signature_name": SIGNATURE, "instances": [dict(instance)]}, ensure_ascii=False)
    return f"curl http://{address}/v1/models/{name}:predict -d {shlex.quote(body)}"


def instance(version: Version, rows: Sequence[Row] = ()) -> dict[str, Any] | None:
    """Values by input of the signature `raw`.

    Args:
        version: a pushed one.
        rows: examples as text, of which the first with no missing value is taken; they may lack features.

    Returns:
        None where the version has no such signature.
    """
    types = _input_types(version)
    if not types:
        return None
    missing = frozenset(version.manifest.get("missing", [""]))
    named = [{argument: row[name] for name, argument in argument_names(row).items()} for row in rows]
    whole = [row for row in named if types.keys() <= row.keys() and missing.isdisjoint(row[name] for name in types)]
    for row in whole:
        try:
            return {name: _typed(kind, row[name]) for name, kind in types.items()}
        except ValueError:  # a file of examples that is older than the model
            continue
    return _generated(types, read_facts(str(version.path)))


def _generated(types: Mapping[str, str], facts: ModelInfo) -> dict[str, Any]:
    known = facts.examples.get(SIGNATURE, {})
    return {
        name: known[name]
        if known.get(name) is not None
        else _plausible(kind, facts.columns.get(name, InputColumn(name)))
        for name, kind in types.items()
    }


def _plausible(kind: str, column: InputColumn) -> Any:
    """A value that the schema allows: the first of its choices, or the middle of its range."""
    if kind == "string":
        return column.choices[0] if column.choices else ""
    ends = [end for end in (column.low, column.high) if end is not None]
    return _typed(kind, sum(ends) / len(ends) if ends else 0)


def _typed(kind: str, value: Any) -> Any:
    """A value as JSON has it for a type.

    Raises:
        ValueError: it is none of that type.
    """
    if kind == "string":
        return str(value)
    return float(value) if kind.startswith(("float", "bfloat")) else int(value)


def _input_types(version: Version) -> dict[str, str]:
    """TensorFlow's name of the type by input of `raw`, sorted; read from the file, the model is not loaded."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((version.path / SAVED_MODEL).read_bytes())
    inputs = model.meta_graphs[0].signature_def[SIGNATURE].inputs
    return {name: tf.dtypes.as_dtype(info.dtype).name for name, info in sorted(inputs.items())}
