"""The fields of a pipeline's trigger form: which values of a config a run may be given, typed and with help.

A field is named by its key in the YAML, as for `--set`: `ensemble.members.deep.epochs`. What changes the graph's shape
is no field.
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
from benison.pipelines.config.mistakes import of_shape
from benison.pipelines.config.periods import FORMS
from benison.pipelines.config_file import put
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

Type = Literal["string", "integer", "number", "boolean"]
SPAN, CACHE = "span", "cache"
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
    """A field.

    Attributes:
        name: `span`, `cache`, or a key of the config, dotted.
        type: JSON schema's.
        default: what a run takes that is given nothing.
        help: one line.
        enum: the values that there are; None where there are more.
        minimum: the least; None for no bound. A number that the config excludes only at its bound is refused later.
        maximum: the most, likewise.
        pattern: of text.
        nullable: whether null is a value.
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


def parameters(config: Pipeline) -> tuple[FormField, ...]:
    """The fields of a pipeline, with its config's values as defaults."""
    schema = Pipeline.model_json_schema(by_alias=True)
    raw = config.model_dump(mode="json")
    fields = [_of_config(schema, raw, loc, about) for loc, about in _keys(config)]
    return (*_of_run(config), *fields)


def values(fields: Sequence[FormField], given: Mapping[str, str]) -> dict[str, Any]:
    """The values of a run, by field; the default where none is given.

    Args:
        fields: the pipeline's.
        given: JSON text by name; text of a field for text needs no quotes.

    Raises:
        UsageError: one line per value that is not allowed, and per name that is no field.
    """
    known = {field.name: field for field in fields}
    found = {field.name: field.default for field in fields}
    mistakes = []
    for name, text in given.items():
        if name not in known:
            mistakes.append(f"{name}: no field of this pipeline's form{did_you_mean(name, known)}")
            continue
        try:
            found[name] = _value(known[name], text)
        except ValueError:
            mistakes.append(f"{name}: got {text}, expected {_allowed(known[name])}")
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return found


def with_values(config: Mapping[str, Any], fields: Mapping[str, Any]) -> Pipeline:
    """A config with a run's values in it.

    Args:
        config: as plain data.
        fields: values by key of the config, dotted.

    Raises:
        UsageError: the values do not fit; one line per mistake.
    """
    raw: Any = config
    for name, value in fields.items():
        raw = put(raw, tuple(name.split(".")), value)
    try:
        return Pipeline.model_validate(raw)
    except ValidationError as error:
        mistakes = of_shape(error)
        raise UsageError("\n".join(f"{mistake.key}: {mistake.message}" for mistake in mistakes)) from None


def _of_run(config: Pipeline) -> Iterator[FormField]:
    if config.spans is not None:
        form = "" if config.spans.every is None else f", or a date such as {FORMS[config.spans.every]}"
        size = config.spans.window or "all"
        yield FormField(
            SPAN,
            "string",
            None,
            f"The newest span of the window of {size}: a number such as 3, a range such as 1-3{form}; "
            "empty: the newest that has landed",
            pattern=r"^[0-9][0-9:+.TZ -]*$",
            nullable=True,
        )
    yield FormField(CACHE, "boolean", True, manifest_texts.CACHE)


def _keys(config: Pipeline) -> Iterator[tuple[tuple[str, ...], str]]:
    """The places of the fields, and what each is about."""
    yield ("seed",), "Seed"
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
    place = ("ensemble", "members", name)
    for key in ("epochs", "batch_size", "patience"):
        yield (*place, key), f"Member {name}, {key}"
    for key, value in member.hyperparameters.items():
        if _is_number(value):
            yield (*place, "hyperparameters", key), f"Member {name}, hyperparameter {key}"


def _threshold(rule: RuleConfig) -> str:
    return "min" if rule.min is not None else "max" if rule.max is not None else "by"


def _of_config(schema: Mapping[str, Any], raw: Any, loc: tuple[str, ...], about: str) -> FormField:
    node: Mapping[str, Any] = schema
    for key in loc:
        node = _inside(_resolved(schema, node), key)
        raw = raw[int(key)] if isinstance(raw, list) else raw[key]
    leaf = _resolved(schema, node)
    description = leaf.get("description", "")
    kind = _type(leaf, raw)
    step = 1 if kind == "integer" else 0
    return FormField(
        ".".join(loc),
        kind,
        raw,
        f"{about}: {description}" if description else about,
        enum=leaf.get("enum"),
        minimum=leaf["exclusiveMinimum"] + step if "exclusiveMinimum" in leaf else leaf.get("minimum"),
        maximum=leaf["exclusiveMaximum"] - step if "exclusiveMaximum" in leaf else leaf.get("maximum"),
    )


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema's node with what its `$ref` names."""
    return {**node, **schema["$defs"][node["$ref"].rpartition("/")[2]]} if "$ref" in node else node


def _inside(node: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The schema of a key, or of an entry of a list."""
    if "items" in node:
        return dict(node["items"])
    if key in node.get("properties", {}):
        return dict(node["properties"][key])
    patterns = node.get("patternProperties", {})
    entry = next((found for pattern, found in patterns.items() if re.search(pattern, key)), None)
    return dict(entry if entry is not None else node["additionalProperties"])


def _type(leaf: Mapping[str, Any], value: Any) -> Type:
    """A leaf's type; where the schema leaves a choice of several, such as for a hyperparameter, the value's own."""
    kinds = {leaf["type"]} if "type" in leaf else {part["type"] for part in leaf["anyOf"]} - {"null"}
    if kinds == {"integer", "number"}:
        return "number"
    if len(kinds) == 1:
        return next(iter(kinds))
    return "integer" if isinstance(value, int) else "number"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _value(field: FormField, text: str) -> Any:
    """The value that a text means.

    Raises:
        ValueError: it is not allowed.
    """
    try:
        value = json.loads(text)
    except ValueError:
        if field.type != "string":
            raise
        value = text
    if field.nullable and value in (None, ""):
        return None
    if field.type == "string" and _is_number(value):
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
    return value


def _within(field: FormField, value: float) -> bool:
    least, most = (-math.inf if field.minimum is None else field.minimum), field.maximum
    return math.isfinite(value) and least <= value <= (math.inf if most is None else most)


def _allowed(field: FormField) -> str:
    if field.enum is not None:
        return f"one of {', '.join(map(str, field.enum))}"
    if field.name == SPAN:
        return "a number such as 3, a range such as 1-3, or a date"
    bounds = [f">= {field.minimum:.12g}"] if field.minimum is not None else []
    bounds += [f"<= {field.maximum:.12g}"] if field.maximum is not None else []
    return " ".join([_ARTICLED[field.type], " and ".join(bounds)]).strip()
