"""The inputs of a signature as fields of a form, for the pages and the OpenAPI document."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.pages.model_info import ModelInfo
from benison.serving.versions.input_columns import InputColumn

Kind = Literal["choice", "text", "integer", "number", "boolean", "json"]

MEMBERS = "members"  # Benison's signature with the predictions of each member
_RAW = "raw"  # Benison's signature with one value per raw feature
_SERIALIZED = frozenset(["examples", "inputs", "input_examples", "serialized_examples"])


@dataclass(frozen=True)
class Field:
    """One input of a signature.

    Attributes:
        argument: name of the input in the signature.
        title: name of the column in the data.
        kind: type of its control in the form; `json` for an input that is not a single value.
        spec: its type and shape.
        choices: values to choose from.
        low: smallest number in the schema; None if unknown.
        high: largest number in the schema; None if unknown.
        missing: JSON that stands for a missing value; empty if the value is required.
        example: an example value; None for a missing value.
    """

    argument: str
    title: str
    kind: Kind
    spec: TensorSpec
    choices: tuple[str, ...]
    low: float | None
    high: float | None
    missing: str
    example: Any

    @property
    def hint(self) -> str:
        """A description of the allowed values."""
        if self.kind == "json":
            return f"JSON: {self.spec.dtype} {_shape_text(self.spec.shape)}"
        words = {"text": "text", "integer": "whole number", "number": "number"}.get(self.kind, "")
        if self.low is not None and self.high is not None:
            words = f"{words}, {self.low:g} to {self.high:g}"
        elif self.low is not None:
            words = f"{words}, from {self.low:g}"
        elif self.high is not None:
            words = f"{words}, up to {self.high:g}"
        return "; ".join(part for part in (words, "optional" if self.missing else "") if part)


def takes_rows(signature: Signature) -> bool:
    """Return True if a request sends rows (`instances`), False if it sends whole tensors (`inputs`)."""
    return signature.batched


def fields(signature: Signature, info: ModelInfo) -> tuple[Field, ...]:
    """Return the inputs of a signature: first those in the schema, in its order, then the others."""
    known = {name: info.columns[name] for name in info.columns if name in signature.inputs}
    names = [*known, *(name for name in signature.inputs if name not in known)]
    example = info.examples.get(signature.name, {})
    if info.columns and _takes_serialized(signature):
        example = {names[0]: _serialized_example(info.columns)}
    return tuple(_field(name, signature, info, example) for name in names)


def row(fields: tuple[Field, ...]) -> dict[str, Any]:
    """Return the example row of a request; a missing number is NaN."""
    return {f.argument: json.loads(f.missing) if f.example is None else f.example for f in fields}


def form_signature(signatures: Mapping[str, Signature]) -> Signature | None:
    """Return the signature for the form: `raw`, else one whose inputs can be typed, else any other; or None."""
    if _RAW in signatures:
        return signatures[_RAW]
    usable = [s for name, s in signatures.items() if can_predict(s) and name != MEMBERS]
    typeable = [s for s in usable if not _takes_serialized(s)]
    for candidates in (typeable, usable):
        for signature in sorted(candidates, key=lambda s: (s.name != "serving_default", s.name)):
            return signature
    return None


def can_predict(signature: Signature) -> bool:
    """Return True if `predict` can run a signature; some signatures are internal operations of TensorFlow."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs and signature.outputs) and all(spec.dtype != "invalid" for spec in specs)


def members_signature(signatures: Mapping[str, Signature], signature: Signature) -> Signature | None:
    """Return the signature with the predictions of each member for the same inputs, or None."""
    members = signatures.get(MEMBERS)
    has_same_inputs = members and signature.name == _RAW and members.inputs.keys() == signature.inputs.keys()
    return members if has_same_inputs else None


def _field(name: str, signature: Signature, info: ModelInfo, example: Mapping[str, Any]) -> Field:
    spec, column = signature.inputs[name], info.columns.get(name, InputColumn(name))
    kind = _kind(spec, column, takes_rows(signature) and not (info.columns and _takes_serialized(signature)))
    missing = json.dumps(signature.missing[name]) if name in signature.missing and kind != "json" else ""
    value = example[name] if name in example and takes_rows(signature) else _schema_example(kind, column)
    if value is None and not missing:
        value = _default_value(kind, spec, signature)
    low, high = (column.low, column.high) if kind in ("integer", "number") else (None, None)
    return Field(
        argument=name,
        title=column.name,
        kind=kind,
        spec=spec,
        choices=column.choices if kind == "choice" else (),
        low=low,
        high=high,
        missing=missing,
        example=value,
    )


def _kind(spec: TensorSpec, column: InputColumn, single_values: bool) -> Kind:
    if not single_values or spec.shape is None or len(spec.shape) != 1:
        return "json"
    if spec.dtype == "string":
        return "choice" if column.choices else "text"
    if spec.dtype == "bool":
        return "boolean"
    if spec.dtype.startswith(("int", "uint")):
        return "integer"
    return "number" if spec.dtype.startswith(("float", "bfloat", "half")) else "json"


def _schema_example(kind: Kind, column: InputColumn) -> Any:
    """Return a value that the schema allows; None for a missing value."""
    if kind == "choice":
        return column.choices[0]
    if kind in ("integer", "number") and (column.low is not None or column.high is not None):
        limits = [limit for limit in (column.low, column.high) if limit is not None]
        middle = sum(limits) / len(limits)
        return int(middle) if kind == "integer" else float(f"{middle:.3g}")
    return None


def _default_value(kind: Kind, spec: TensorSpec, signature: Signature) -> Any:
    """Return an empty value of the right type and shape."""
    value: Any = {"string": "", "bool": False}.get(spec.dtype, 0)
    if kind != "json":
        return value
    sizes = [max(size, 1) for size in spec.shape or ()]
    for size in reversed(sizes[1:] if takes_rows(signature) else sizes):
        value = [value] * size
    return value


def _takes_serialized(signature: Signature) -> bool:
    """Return True if its only input is a serialized tf.Example, which a person cannot type."""
    if len(signature.inputs) != 1 or signature.name in (_RAW, MEMBERS):
        return False
    ((name, spec),) = signature.inputs.items()
    return spec.dtype == "string" and name in _SERIALIZED


def _serialized_example(columns: Mapping[str, InputColumn]) -> dict[str, str]:
    """Return a tf.Example that the schema allows, in the JSON form of bytes."""
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    for column in columns.values():
        feature = example.features.feature[column.name]
        if column.dtype == "string":
            feature.bytes_list.value.append((column.choices[0] if column.choices else "").encode())
        elif column.dtype == "int64":
            feature.int64_list.value.append(_schema_example("integer", column) or 0)
        else:
            feature.float_list.value.append(_schema_example("number", column) or 0.0)
    return {"b64": base64.b64encode(example.SerializeToString(deterministic=True)).decode()}


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"
