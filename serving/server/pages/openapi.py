"""The loaded models as an OpenAPI 3.1 document: TF Serving's REST paths, with the rows that each signature takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote

from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.inference import CLASSIFY, REGRESS
from benison.serving.server.pages import input_fields
from benison.serving.server.pages.input_fields import Field
from benison.serving.server.pages.model_info import ModelInfo

Json = dict[str, Any]

PATH = "/benison/openapi.json"
_ERROR = {"$ref": "#/components/responses/Error"}
_BYTES = {"$ref": "#/components/schemas/Bytes"}
_ABOUT = """TensorFlow Serving's REST API for the models that are loaded now. As there, `NaN`, `Infinity` and
`-Infinity` are numbers in requests and answers, bytes are `{"b64": "…"}`, and a single input or output may go without
its name."""


@dataclass(frozen=True)
class ServedModel:
    """A model as requests for its newest version see it.

    Attributes:
        name: the model's.
        version: the number of the version that answers.
        labels: other names of versions.
        signatures: of that version.
        facts: what its folder says beside.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    signatures: Mapping[str, Signature]
    facts: ModelInfo

    @property
    def askable(self) -> dict[str, Signature]:
        """The signatures that a request can name, the one for people first."""
        first = input_fields.for_people(self.signatures)
        usable = {name: signature for name, signature in self.signatures.items() if input_fields.askable(signature)}
        return {first.name: first, **usable} if first else usable


def document(models: tuple[ServedModel, ...]) -> Json:
    """The document.

    Args:
        models: what is loaded, in the order of the document.
    """
    paths: Json = {}
    schemas: Json = {"Error": _object({"error": {"type": "string"}}), "Bytes": _bytes(), "Status": _status_schema()}
    for model in models:
        paths |= _paths(model)
        for signature in model.askable.values():
            schemas |= _schemas(model, signature)
    paths["/benison/status"] = {
        "get": _look("server", "Benison's own status: engines, queues and batches of all models")
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Benison model server", "version": _version(), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": model.name, "description": described(model)} for model in models],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": _answer("Refused; the message says why.", {"$ref": "#/components/schemas/Error"})},
        },
    }


def _paths(model: ServedModel) -> Json:
    base = f"/v1/models/{quote(model.name, safe='')}"
    places: list[tuple[str, list[Json]]] = [(base, []), (f"{base}/versions/{{version}}", [_version_parameter(model)])]
    if model.labels:
        places.append((f"{base}/labels/{{label}}", [_label_parameter(model)]))
    paths: Json = {}
    for place, parameters in places:
        for verb, operation in _asks(model):
            paths[f"{place}:{verb}"] = _with(parameters, {"post": operation})
        status = _look(model.name, "State of each version", {"$ref": "#/components/schemas/Status"})
        paths[place] = _with(parameters, {"get": status})
        paths[f"{place}/metadata"] = _with(parameters, {"get": _look(model.name, "Signatures, inputs and outputs")})
    return paths


def _asks(model: ServedModel) -> Iterator[tuple[str, Json]]:
    """The operations that run the model: verb and operation."""
    yield "predict", _predict(model)
    for verb, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        names = [name for name, signature in model.askable.items() if signature.method == method]
        if names:
            yield verb, _on_examples(model, verb, names)


def _predict(model: ServedModel) -> Json:
    requests, answers, examples = [], [], {}
    for name, signature in model.askable.items():
        prefix = key(model.name, name)
        requests.append({"$ref": f"#/components/schemas/{prefix}.Request"})
        answers.append({"$ref": f"#/components/schemas/{prefix}.Answer"})
        examples[name] = {"value": request_example(model, signature)}
    return {
        "tags": [model.name],
        "summary": "Asks the model",
        "requestBody": _body({"anyOf": requests}, examples),
        "responses": {"200": _answer("What the model says, row by row or output by output.", {"anyOf": answers})}
        | _errors(),
    }


def request_example(model: ServedModel, signature: Signature) -> Json:
    """A predict request that the model answers, with JSON's own numbers."""
    row = {
        name: _finite(value) for name, value in input_fields.row(input_fields.fields(signature, model.facts)).items()
    }
    named = {} if signature.name == "serving_default" else {"signature_name": signature.name}
    return {**named, **({"instances": [row]} if input_fields.in_rows(signature) else {"inputs": row})}


def _on_examples(model: ServedModel, verb: str, names: list[str]) -> Json:
    classify = verb == "classify"
    results: Json = {"type": "number"}
    if classify:
        results = {"type": "array", "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}}
    features = {"type": "object", "description": "Feature to value, or to a list of values, as in a tf.Example."}
    request = {
        "type": "object",
        "required": ["examples"],
        "properties": {
            "signature_name": {"enum": names},
            "context": features,
            "examples": {"type": "array", "minItems": 1, "items": features},
        },
    }
    answer = _object({"results": {"type": "array", "items": results}})
    what = "a list of [label, score] per example" if classify else "a number per example"
    return {
        "tags": [model.name],
        "summary": "Classifies examples" if classify else "Predicts a number per example",
        "requestBody": _body(request, {}),
        "responses": {"200": _answer(f"In the order of the examples: {what}.", answer)} | _errors(),
    }


def _schemas(model: ServedModel, signature: Signature) -> Json:
    """A signature's request and answer, and what they are made of: rows and, for `inputs` and `outputs`, tensors."""
    prefix = key(model.name, signature.name)
    fields = input_fields.fields(signature, model.facts)
    parts = {"Tensors": _object({field.argument: _input(field, 0) for field in fields})}
    parts["AnswerTensors"] = _object({name: _nested(spec, 0) for name, spec in signature.outputs.items()})
    named: Json = {"signature_name": {"const": signature.name}}
    required = [] if signature.name == "serving_default" else ["signature_name"]
    tensors, said = _ref(prefix, "Tensors", parts), _ref(prefix, "AnswerTensors", parts, only=True)
    request = _object({**named, "inputs": tensors}, [*required, "inputs"])
    answer = _object({"outputs": said})
    if input_fields.in_rows(signature):
        parts["Row"] = _object({field.argument: _input(field, 1) for field in fields})
        parts["AnswerRow"] = _object({name: _nested(spec, 1) for name, spec in signature.outputs.items()})
        instances = {"type": "array", "minItems": 1, "items": _ref(prefix, "Row", parts)}
        predictions = {"type": "array", "items": _ref(prefix, "AnswerRow", parts, only=True)}
        request = {"oneOf": [_object({**named, "instances": instances}, [*required, "instances"]), request]}
        answer = {"oneOf": [_object({"predictions": predictions}), answer]}
    parts |= {"Request": request, "Answer": answer}
    return {f"{prefix}.{name}": schema for name, schema in parts.items()}


def _ref(prefix: str, part: str, parts: Json, *, only: bool = False) -> Json:
    """A reference to one of the parts. Of a single input the bare value will do; of a single output it is all there is.

    Args:
        prefix: of the part's name.
        part: an object.
        parts: all of them.
        only: whether a single value always goes without its name.
    """
    ref = {"$ref": f"#/components/schemas/{prefix}.{part}"}
    values = list(parts[part]["properties"].values())
    if len(values) > 1:
        return ref
    return values[0] if only else {"anyOf": [ref, values[0]]}


def _input(field: Field, level: int) -> Json:
    """An input as JSON schema, without its first `level` dimensions.

    What the data's schema says stands in the description: the model answers for other values, too.
    """
    words = [field.title if field.title != field.argument else "", _limits(field)]
    if field.choices:
        words.append(f"In the training data one of {', '.join(field.choices)}")
    if field.missing:
        words.append(f"{field.missing} for a missing value")
    text = ". ".join(word.rstrip(".") for word in words if word)
    return {**_nested(field.spec, level), **({"description": f"{text}."} if text else {})}


def _limits(field: Field) -> str:
    if field.kind == "json":
        return f"{field.spec.dtype} of shape {list(field.spec.shape)}" if field.spec.shape is not None else ""
    ends = [
        f"from {field.low:g}" if field.low is not None else "",
        f"up to {field.high:g}" if field.high is not None else "",
    ]
    words = " ".join(end for end in ends if end)
    return f"In the training data {words}" if words else ""


def _nested(spec: TensorSpec, level: int) -> Json:
    """A tensor as JSON schema, without its first `level` dimensions."""
    schema = _scalar(spec.dtype)
    if spec.shape is None:
        return {"anyOf": [schema, {"type": "array"}]}
    for size in reversed(spec.shape[level:]):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def _scalar(dtype: str) -> Json:
    if dtype == "string":
        return {"anyOf": [{"type": "string"}, _BYTES]}
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype.startswith(("int", "uint")):
        return {"type": "integer"}
    return {"type": "number"}


def _object(properties: Json, required: list[str] | None = None) -> Json:
    return {
        "type": "object",
        "required": list(properties) if required is None else required,
        "properties": properties,
    }


def _bytes() -> Json:
    return _object({"b64": {"type": "string", "contentEncoding": "base64"}}) | {"description": "Bytes."}


def _status_schema() -> Json:
    status = _object({"error_code": {"type": "string"}, "error_message": {"type": "string"}})
    states = {"enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]}
    entry = _object({"version": {"type": "string"}, "state": states, "status": status})
    return _object({"model_version_status": {"type": "array", "items": entry}})


def _look(tag: str, summary: str, schema: Json | None = None) -> Json:
    answer = _answer(f"{summary}, as JSON.", schema or {"type": "object"})
    return {"tags": [tag], "summary": summary, "responses": {"200": answer} | _errors()}


def _body(schema: Json, examples: Json) -> Json:
    content = {"schema": schema, **({"examples": examples} if examples else {})}
    return {"required": True, "content": {"application/json": content}}


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors() -> Json:
    return {"4XX": _ERROR, "5XX": _ERROR}


def _with(parameters: list[Json], item: Json) -> Json:
    return {"parameters": parameters, **item} if parameters else item


def _version_parameter(model: ServedModel) -> Json:
    about = {"name": "version", "in": "path", "required": True, "description": "The version's number."}
    return {**about, "schema": {"type": "integer"}, "example": model.version}


def _label_parameter(model: ServedModel) -> Json:
    about = {"name": "label", "in": "path", "required": True, "description": "A label of a version."}
    return {**about, "schema": {"enum": list(model.labels)}}


def described(model: ServedModel) -> str:
    """A model in a sentence."""
    facts = model.facts
    words = [f"Version {model.version}"]
    if facts.label:
        words.append(f"predicts {facts.label}")
    if facts.members:
        words.append(f"{facts.combiner.replace('_', ' ') or 'ensemble'} of {', '.join(facts.members)}")
    return "; ".join(words) + "."


def key(model: str, signature: str) -> str:
    """The name of a component: OpenAPI allows few characters, so any other becomes its number."""
    plain = (re.sub(r"[^A-Za-z0-9_-]", lambda found: f"_{ord(found[0]):x}_", part) for part in (model, signature))
    return ".".join(plain)


def _finite(value: Any) -> Any:
    return 0.0 if isinstance(value, float) and not math.isfinite(value) else value


def _version() -> str:
    try:
        return version("benison")
    except PackageNotFoundError:
        return "unknown"
