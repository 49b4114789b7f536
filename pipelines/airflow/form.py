"""The fields of a pipeline's trigger form in Airflow: the config values that a run may change, with types and help.

A field's name is its key in the YAML, as for `--set`: `ensemble.members.deep.epochs`. Values that change the graph are
not fields.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from benison.pipelines.airflow import manifest_texts
from benison.pipelines.config import Member, Pipeline, RuleConfig
from benison.pipelines.config.limits import with_limits
from benison.pipelines.config.mistakes import shape_mistakes
from benison.pipelines.config.nested import put
from benison.pipelines.config.periods import FORMS
from benison.pipelines.config.types import is_number
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

Type = Literal["string", "integer", "number", "boolean"]
SPAN, CACHE = "span", "cache"
_LONGEST_SPAN = 100  # characters; longer values are cut in messages too
_PYTHON: Mapping[Type, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_ARTICLED: Mapping[Type, str] = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True)
class FormField:
    """A field of the form.

    Attributes:
        name: `span`, `cache`, or a dotted key of the config.
        type: the JSON schema type.
        default: the value of a run that does not set the field.
        help: one line.
        enum: the allowed values; None if they are not a list.
        minimum: the smallest value; None for no bound. The config refuses an excluded bound later.
        maximum: the largest value; None for no bound.
        pattern: a regular expression for text.
        nullable: null is an allowed value.
        max_length: the most characters of a text; None for other types and for enumerated values.
    """

    name: str
    type: Type
    default: Any
    help: str
    enum: Sequence[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    nullable: bool = False
    max_length: int | None = None


def parameters(config: Pipeline) -> tuple[FormField, ...]:
    """Return the fields of a pipeline, with its config's values as defaults."""
    schema = with_limits(Pipeline.model_json_schema(by_alias=True))
    raw = config.model_dump(mode="json")
    fields = [_config_field(schema, raw, path, label) for path, label in _keys(config)]
    return (*_run_fields(config), *fields)


def values(fields: Sequence[FormField], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a run by field, with the defaults of the fields that are not set.

    Args:
        fields: the pipeline's fields.
        texts: JSON text by name; the text of a string field needs no quotes.

    Raises:
        UsageError: one line per value that is not allowed, and per name that is not a field.
    """
    known = {field.name: field for field in fields}
    run_values = {field.name: field.default for field in fields}
    mistakes = []
    for name, text in texts.items():
        if name not in known:
            mistakes.append(f"{name}: no such field in the form of this pipeline{did_you_mean(name, known)}")
            continue
        try:
            run_values[name] = _value(known[name], text)
        except ValueError:
            shown = text if len(text) <= _LONGEST_SPAN else f"{text[:_LONGEST_SPAN]}…"
            mistakes.append(f"{name}: got {shown}, expected {_allowed(known[name])}")
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return run_values


def with_values(config: Mapping[str, Any], fields: Mapping[str, Any]) -> Pipeline:
    """Return a config with a run's values filled in.

    Args:
        config: the config as plain data.
        fields: values by dotted key of the config.

    Raises:
        UsageError: the values are not valid together; one line per mistake.
    """
    raw: Any = config
    for name, value in fields.items():
        raw = put(raw, tuple(name.split(".")), value)
    try:
        return Pipeline.model_validate(raw)
    except ValidationError as error:
        mistakes = shape_mistakes(error)
        raise UsageError("\n".join(f"{mistake.key}: {mistake.message}" for mistake in mistakes)) from None


def _run_fields(config: Pipeline) -> Iterator[FormField]:
    if config.spans is not None:
        date = "" if config.spans.every is None else f", or a date such as {FORMS[config.spans.every]}"
        yield FormField(
            SPAN,
            "string",
            None,
            f"The newest span of the window: a number such as 3, a range such as 1-3{date}. "
            "Empty: the newest span that has landed",
            pattern=r"^[0-9][0-9:+.TZ -]*$",
            nullable=True,
            max_length=_LONGEST_SPAN,
        )
    yield FormField(CACHE, "boolean", True, manifest_texts.CACHE)


def _keys(config: Pipeline) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the path of each field in the config, and the label that its help begins with."""
    yield ("seed",), "Seed"
    if config.data.time is not None:
        yield ("validation", "max_missing_time"), "ExampleGen, max_missing_time"
    for name, member in config.ensemble.members.items():
        yield from _keys_of_member(name, member)
    for key in ("confidence", "resamples"):
        yield ("blessing", key), f"Blessing, {key}"
    for number, rule in enumerate(config.blessing.rules):
        yield ("blessing", "rules", str(number), _threshold(rule)), f"Blessing, {rule.metric}"
    yield ("serving", "promote"), "Pusher, promote"
    for key in type(config.serving.budget).model_fields:
        yield ("serving", "budget", key), f"ServingValidator, {key}"


def _keys_of_member(name: str, member: Member) -> Iterator[tuple[tuple[str, ...], str]]:
    path = ("ensemble", "members", name)
    keys = {"keras": ("epochs", "batch_size", "patience"), "trees": ("patience",)}
    for key in keys.get(member.kind, ()):
        yield (*path, key), f"Member {name}, {key}"
    for key, value in member.hyperparameters.items():
        if is_number(value):
            yield (*path, "hyperparameters", key), f"Member {name}, hyperparameter {key}"


def _threshold(rule: RuleConfig) -> str:
    return "min" if rule.min is not None else "max" if rule.max is not None else "by"


def _config_field(schema: Mapping[str, Any], raw: Any, path: tuple[str, ...], label: str) -> FormField:
    node: Mapping[str, Any] = schema
    for key in path:
        node = _inside(_resolved(schema, node), key)
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    leaf = _resolved(schema, node)
    description = leaf.get("description", "")
    field_type = _type(leaf, raw)
    step = 1 if field_type == "integer" else 0
    bounds = _bounds(leaf, field_type)
    return FormField(
        ".".join(path),
        field_type,
        raw,
        f"{label}: {description}" if description else label,
        enum=leaf.get("enum"),
        minimum=bounds["exclusiveMinimum"] + step if "exclusiveMinimum" in bounds else bounds.get("minimum"),
        maximum=bounds["exclusiveMaximum"] - step if "exclusiveMaximum" in bounds else bounds.get("maximum"),
        max_length=bounds.get("maxLength"),
    )


def _bounds(leaf: Mapping[str, Any], field_type: Type) -> Mapping[str, Any]:
    """Return a leaf's bounds; where it allows several types, those of the field's type, and those of all."""
    part: Mapping[str, Any] = next((part for part in leaf.get("anyOf", ()) if part.get("type") == field_type), {})
    both = {**part, **{key: value for key, value in leaf.items() if key in ("minimum", "maximum")}}
    for bound in ("minimum", "maximum"):  # an excluded bound of all types is narrower than the limit of one
        if f"exclusive{bound.capitalize()}" in leaf:
            both.pop(bound, None)
            both[f"exclusive{bound.capitalize()}"] = leaf[f"exclusive{bound.capitalize()}"]
    return {**both, **({"maxLength": leaf["maxLength"]} if "maxLength" in leaf else {})}


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema's node merged with the definition that its `$ref` names."""
    return {**node, **schema["$defs"][node["$ref"].rpartition("/")[2]]} if "$ref" in node else node


def _inside(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the schema of a key, or of an entry of a list."""
    if "items" in node:
        return dict(node["items"])
    if key in node.get("properties", {}):
        return dict(node["properties"][key])
    patterns = node.get("patternProperties", {})
    entry = next((schema for pattern, schema in patterns.items() if re.search(pattern, key)), None)
    return dict(entry if entry is not None else node["additionalProperties"])


def _type(leaf: Mapping[str, Any], value: Any) -> Type:
    """Return a leaf's type; if the schema allows several, as for a hyperparameter, the type of the value."""
    types = {leaf["type"]} if "type" in leaf else {part["type"] for part in leaf["anyOf"]} - {"null"}
    if types == {"integer", "number"}:
        return "number"
    if len(types) == 1:
        return next(iter(types))
    return "integer" if isinstance(value, int) else "number"


def _value(field: FormField, text: str) -> Any:
    """Parse the text of a field's value.

    Raises:
        ValueError: the value is not allowed.
    """
    try:
        value = json.loads(text)
    except ValueError:
        if field.type != "string":
            raise
        value = text
    if field.nullable and value in (None, ""):
        return None
    if field.type == "string" and is_number(value):
        value = text  # a span's number
    if field.type == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) != (field.type == "boolean") or not isinstance(value, _PYTHON[field.type]):
        raise ValueError
    if isinstance(value, (int, float)) and not _within(field, value):
        raise ValueError
    if field.enum is not None and value not in field.enum:
        raise ValueError
    if field.pattern is not None and not re.search(field.pattern, str(value)):
        raise ValueError
    if field.max_length is not None and len(str(value)) > field.max_length:
        raise ValueError
    return value


def _within(field: FormField, value: float) -> bool:
    minimum = -math.inf if field.minimum is None else field.minimum
    maximum = math.inf if field.maximum is None else field.maximum
    return minimum <= value <= maximum and value not in (-math.inf, math.inf)


def _allowed(field: FormField) -> str:
    if field.enum is not None:
        return f"one of {', '.join(map(str, field.enum))}"
    if field.name == SPAN:
        return "a number such as 3, a range such as 1-3, or a date"
    bounds = [f">= {field.minimum:.12g}"] if field.minimum is not None else []
    bounds += [f"<= {field.maximum:.12g}"] if field.maximum is not None else []
    bounds += [f"of at most {field.max_length} characters"] if field.max_length is not None else []
    return " ".join([_ARTICLED[field.type], " and ".join(bounds)]).strip()
