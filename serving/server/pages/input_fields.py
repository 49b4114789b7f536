"""What a signature asks for, input by input, so that a person can fill it in: for the pages and for OpenAPI."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.pages.model_info import InputColumn, ModelInfo

Kind = Literal["choice", "text", "integer", "number", "boolean", "json"]

MEMBERS = "members"  # Benison's signature of what each member says
_FOR_PEOPLE = "raw"  # Benison's signature of one value per raw feature
_TAKE_MISSING = frozenset([_FOR_PEOPLE, MEMBERS])
_SERIALISED = frozenset(["examples", "inputs", "input_examples", "serialized_examples"])
# How Benison's `raw` is told that a value is missing, as JSON.
_MISSING: Mapping[Kind, str] = {"choice": '""', "text": '""', "integer": "-1", "number": "NaN"}


@dataclass(frozen=True)
class Field:
    """One input.

    Attributes:
        argument: its name in the signature.
        title: what people call it.
        kind: how it is filled in; `json` for what is no single value.
        spec: its type and shape.
        choices: values to choose from.
        low: the least number of the schema; None: not known.
        high: the largest one.
        missing: the JSON by which a missing value is sent; empty: it must not be missing.
        example: a value; None for a missing one.
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
        """What may be filled in, in words."""
        if self.kind == "json":
            return f"JSON: {self.spec.dtype} {_written(self.spec.shape)}"
        words = {"text": "text", "integer": "whole number", "number": "number"}.get(self.kind, "")
        if self.low is not None and self.high is not None:
            words = f"{words}, {self.low:g} to {self.high:g}"
        elif self.low is not None:
            words = f"{words}, from {self.low:g}"
        elif self.high is not None:
            words = f"{words}, up to {self.high:g}"
        return "; ".join(part for part in (words, "optional" if self.missing else "") if part)


def in_rows(signature: Signature) -> bool:
    """Whether it is asked row by row, `instances`; else by whole tensors, `inputs`."""
    return signature.batched


def fields(signature: Signature, facts: ModelInfo) -> tuple[Field, ...]:
    """A signature's inputs, those that the schema names first and in its order."""
    known = {name: facts.columns[name] for name in facts.columns if name in signature.inputs}
    names = [*known, *(name for name in signature.inputs if name not in known)]
    example = facts.examples.get(signature.name, {})
    if facts.columns and _takes_serialised(signature):
        example = {names[0]: _serialised(facts.columns)}
    return tuple(_field(name, signature, facts, example) for name in names)


def row(fields: tuple[Field, ...]) -> dict[str, Any]:
    """The example, as a request has it; a missing number is NaN."""
    missing: dict[str, Any] = {'""': "", "-1": -1, "NaN": float("nan")}
    return {f.argument: missing[f.missing] if f.example is None else f.example for f in fields}


def for_people(signatures: Mapping[str, Signature]) -> Signature | None:
    """The signature that a person is asked to fill in: values that can be typed, and none of Benison's own purposes."""
    if _FOR_PEOPLE in signatures:
        return signatures[_FOR_PEOPLE]
    usable = [s for name, s in signatures.items() if askable(s) and name != MEMBERS]
    typed = [s for s in usable if not _takes_serialised(s)]
    for candidates in (typed, usable):
        for signature in sorted(candidates, key=lambda s: (s.name != "serving_default", s.name)):
            return signature
    return None


def askable(signature: Signature) -> bool:
    """Whether `predict` can be asked for it: TensorFlow keeps operations of its own among the signatures."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs and signature.outputs) and all(spec.dtype != "invalid" for spec in specs)


def members(signatures: Mapping[str, Signature], asked: Signature) -> Signature | None:
    """The signature that tells what each member says to the same inputs, if there is one."""
    found = signatures.get(MEMBERS)
    return found if found and asked.name == _FOR_PEOPLE and found.inputs.keys() == asked.inputs.keys() else None


def _field(name: str, signature: Signature, facts: ModelInfo, example: Mapping[str, Any]) -> Field:
    spec, column = signature.inputs[name], facts.columns.get(name)
    kind = _kind(spec, column, in_rows(signature) and not (facts.columns and _takes_serialised(signature)))
    known = column or InputColumn(name)
    missing = _MISSING.get(kind, "") if known.optional and signature.name in _TAKE_MISSING else ""
    suggested = example[name] if name in example and in_rows(signature) else _example(kind, known)
    if suggested is None and not missing:
        suggested = _plain(kind, spec, signature)
    low, high = (known.low, known.high) if kind in ("integer", "number") else (None, None)
    return Field(
        argument=name,
        title=known.name,
        kind=kind,
        spec=spec,
        choices=known.choices if kind == "choice" else (),
        low=low,
        high=high,
        missing=missing,
        example=suggested,
    )


def _kind(spec: TensorSpec, column: InputColumn | None, rows: bool) -> Kind:
    if not rows or spec.shape is None or len(spec.shape) != 1:
        return "json"
    if spec.dtype == "string":
        return "choice" if column and column.choices else "text"
    if spec.dtype == "bool":
        return "boolean"
    if spec.dtype.startswith(("int", "uint")):
        return "integer"
    return "number" if spec.dtype.startswith(("float", "bfloat", "half")) else "json"


def _example(kind: Kind, column: InputColumn) -> Any:
    """A value within the schema; None for a missing one."""
    if kind == "choice":
        return column.choices[0]
    if kind in ("integer", "number") and (column.low is not None or column.high is not None):
        ends = [end for end in (column.low, column.high) if end is not None]
        middle = sum(ends) / len(ends)
        return int(middle) if kind == "integer" else float(f"{middle:.3g}")
    return None


def _plain(kind: Kind, spec: TensorSpec, signature: Signature) -> Any:
    """A value of the right type and shape, where nothing is known of it."""
    scalar: Any = {"string": "", "bool": False}.get(spec.dtype, 0)
    if kind != "json":
        return scalar
    sizes = [max(size, 1) for size in spec.shape or ()]
    for size in reversed(sizes[1:] if in_rows(signature) else sizes):
        scalar = [scalar] * size
    return scalar


def _takes_serialised(signature: Signature) -> bool:
    """Whether it wants tf.Example, which nobody types."""
    (first, *more) = signature.inputs.items()
    return not more and first[1].dtype == "string" and first[0] in _SERIALISED


def _serialised(columns: Mapping[str, InputColumn]) -> dict[str, str]:
    """A tf.Example within the schema, as JSON has bytes."""
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    for column in columns.values():
        feature = example.features.feature[column.name]
        if column.dtype == "string":
            feature.bytes_list.value.append((column.choices[0] if column.choices else "").encode())
        elif column.dtype == "int64":
            feature.int64_list.value.append(_example("integer", column) or 0)
        else:
            feature.float_list.value.append(_example("number", column) or 0.0)
    return {"b64": base64.b64encode(example.SerializeToString(deterministic=True)).decode()}


def _written(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else f"[{', '.join('?' if size < 0 else str(size) for size in shape)}]"
