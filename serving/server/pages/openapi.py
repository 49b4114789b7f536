"""An OpenAPI 3.1 document of the loaded models: TF Serving's REST paths, with the rows that each signature takes."""

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
_DESCRIPTION = """TensorFlow Serving's REST API for the models that are loaded now. As in TensorFlow Serving, `NaN`,
`Infinity` and `-Infinity` are numbers in requests and responses, bytes are `{"b64": "…"}`, and the name of a single
input or output can be left out."""


@dataclass(frozen=True)
class ServedModel:
    """The newest loaded version of a model.

    Attributes:
        name: name of the model.
        version: number of the version.
        labels: version labels of the model.
        signatures: signatures of the version.
        info: information from the version's folder.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    signatures: Mapping[str, Signature]
    info: ModelInfo

    @property
    def predict_signatures(self) -> dict[str, Signature]:
        """The signatures that `predict` can run, by name; the signature of the form comes first."""
        first = input_fields.form_signature(self.signatures)
        usable = {name: signature for name, signature in self.signatures.items() if input_fields.can_predict(signature)}
        return {first.name: first, **usable} if first else usable


def document(models: tuple[ServedModel, ...]) -> Json:
    """Return the document.

    Args:
        models: the loaded models, in the order of the document.
    """
    paths: Json = {}
    schemas: Json = {"Error": _object({"error": {"type": "string"}}), "Bytes": _bytes(), "Status": _status_schema()}
    for model in models:
        paths |= _paths(model)
        for signature in model.predict_signatures.values():
            schemas |= _schemas(model, signature)
    paths["/benison/status"] = {
        "get": _get_operation("server", "Benison's own status: engines, queues and batches of all models")
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Benison model server", "version": _version(), "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": model.name, "description": description(model)} for model in models],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": _answer(
                    "The request was refused; the message contains the reason.", {"$ref": "#/components/schemas/Error"}
                )
            },
        },
    }


def _paths(model: ServedModel) -> Json:
    base = f"/v1/models/{quote(model.name, safe='')}"
    prefixes: list[tuple[str, list[Json]]] = [(base, []), (f"{base}/versions/{{version}}", [_version_parameter(model)])]
    if model.labels:
        prefixes.append((f"{base}/labels/{{label}}", [_label_parameter(model)]))
    paths: Json = {}
    for prefix, parameters in prefixes:
        for verb, operation in _model_operations(model):
            paths[f"{prefix}:{verb}"] = _with(parameters, {"post": operation})
        status = _get_operation(model.name, "State of each version", {"$ref": "#/components/schemas/Status"})
        paths[prefix] = _with(parameters, {"get": status})
        metadata = _get_operation(model.name, "Signatures with their inputs and outputs")
        paths[f"{prefix}/metadata"] = _with(parameters, {"get": metadata})
    return paths


def _model_operations(model: ServedModel) -> Iterator[tuple[str, Json]]:
    """Yield the operations that run the model, as verb and operation."""
    yield "predict", _predict(model)
    for verb, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        names = [name for name, signature in model.predict_signatures.items() if signature.method == method]
        if names:
            yield verb, _on_examples(model, verb, names)


def _predict(model: ServedModel) -> Json:
    requests, answers, examples = [], [], {}
    for name, signature in model.predict_signatures.items():
        prefix = component_name(model.name, name)
        requests.append({"$ref": f"#/components/schemas/{prefix}.Request"})
        answers.append({"$ref": f"#/components/schemas/{prefix}.Answer"})
        examples[name] = {"value": request_example(model, signature)}
    return {
        "tags": [model.name],
        "summary": "Run the model",
        "requestBody": _body({"anyOf": requests}, examples),
        "responses": {"200": _answer("Predictions, one per row or one tensor per output.", {"anyOf": answers})}
        | _errors(),
    }


def request_example(model: ServedModel, signature: Signature) -> Json:
    """Return a valid predict request in strict JSON, without NaN and infinity."""
    row = {name: _finite(value) for name, value in input_fields.row(input_fields.fields(signature, model.info)).items()}
    signature_name = {} if signature.name == "serving_default" else {"signature_name": signature.name}
    return {**signature_name, **({"instances": [row]} if input_fields.takes_rows(signature) else {"inputs": row})}


def _on_examples(model: ServedModel, verb: str, names: list[str]) -> Json:
    classify = verb == "classify"
    results: Json = {"type": "number"}
    if classify:
        results = {"type": "array", "items": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}}
    features = {"type": "object", "description": "The value or list of values of each feature, as in a tf.Example."}
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
    result = "A list of [label, score]" if classify else "A number"
    return {
        "tags": [model.name],
        "summary": "Classify examples" if classify else "Predict a number per example",
        "requestBody": _body(request, {}),
        "responses": {"200": _answer(f"{result} per example, in the order of the examples.", answer)} | _errors(),
    }


def _schemas(model: ServedModel, signature: Signature) -> Json:
    """Return the schemas of a signature's request and response, and of the rows and tensors that they contain."""
    prefix = component_name(model.name, signature.name)
    fields = input_fields.fields(signature, model.info)
    parts = {"Tensors": _object({field.argument: _input(field, 0) for field in fields})}
    parts["AnswerTensors"] = _object({name: _nested(spec, 0) for name, spec in signature.outputs.items()})
    signature_name: Json = {"signature_name": {"const": signature.name}}
    required = [] if signature.name == "serving_default" else ["signature_name"]
    tensors, output_tensors = _ref(prefix, "Tensors", parts), _ref(prefix, "AnswerTensors", parts, only=True)
    request = _object({**signature_name, "inputs": tensors}, [*required, "inputs"])
    answer = _object({"outputs": output_tensors})
    if input_fields.takes_rows(signature):
        parts["Row"] = _object({field.argument: _input(field, 1) for field in fields})
        parts["AnswerRow"] = _object({name: _nested(spec, 1) for name, spec in signature.outputs.items()})
        instances = {"type": "array", "minItems": 1, "items": _ref(prefix, "Row", parts)}
        predictions = {"type": "array", "items": _ref(prefix, "AnswerRow", parts, only=True)}
        request = {"oneOf": [_object({**signature_name, "instances": instances}, [*required, "instances"]), request]}
        answer = {"oneOf": [_object({"predictions": predictions}), answer]}
    parts |= {"Request": request, "Answer": answer}
    return {f"{prefix}.{name}": schema for name, schema in parts.items()}


def _ref(prefix: str, part: str, parts: Json, *, only: bool = False) -> Json:
    """Return a reference to a part. A single input can be sent as a bare value; a single output is always a bare value.

    Args:
        prefix: first part of the component's name.
        part: name of an object in `parts`.
        parts: schemas of all parts, by name.
        only: whether a single value never has its name.
    """
    ref = {"$ref": f"#/components/schemas/{prefix}.{part}"}
    values = list(parts[part]["properties"].values())
    if len(values) > 1:
        return ref
    return values[0] if only else {"anyOf": [ref, values[0]]}


def _input(field: Field, level: int) -> Json:
    """Return the JSON schema of an input without its first `level` dimensions.

    Limits from the data's schema are only in the description, because the model also accepts other values.
    """
    words = [field.title if field.title != field.argument else "", _limits(field)]
    if field.choices:
        words.append(f"In the training data: {', '.join(field.choices)}")
    if field.missing:
        words.append(f"Send {field.missing} for a missing value; this server also takes null, or no value at all")
    text = ". ".join(word.rstrip(".") for word in words if word)
    return {**_nested(field.spec, level), **({"description": f"{text}."} if text else {})}


def _limits(field: Field) -> str:
    if field.kind == "json":
        return f"{field.spec.dtype} of shape {list(field.spec.shape)}" if field.spec.shape is not None else ""
    limits = [
        f"from {field.low:g}" if field.low is not None else "",
        f"up to {field.high:g}" if field.high is not None else "",
    ]
    words = " ".join(limit for limit in limits if limit)
    return f"In the training data: {words}" if words else ""


def _nested(spec: TensorSpec, level: int) -> Json:
    """Return the JSON schema of a tensor without its first `level` dimensions."""
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


def _get_operation(tag: str, summary: str, schema: Json | None = None) -> Json:
    answer = _answer(f"{summary}, as JSON.", schema or {"type": "object"})
    return {"tags": [tag], "summary": summary, "responses": {"200": answer} | _errors()}


def _body(schema: Json, examples: Json) -> Json:
    content = {"schema": schema, **({"examples": examples} if examples else {})}
    return {"required": True, "content": {"application/json": content}}


def _answer(text: str, schema: Json) -> Json:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _errors() -> Json:
    return {"4XX": _ERROR, "5XX": _ERROR}


def _with(parameters: list[Json], item: Json) -> Json:
    return {"parameters": parameters, **item} if parameters else item


def _version_parameter(model: ServedModel) -> Json:
    parameter = {"name": "version", "in": "path", "required": True, "description": "The number of the version."}
    return {**parameter, "schema": {"type": "integer"}, "example": model.version}


def _label_parameter(model: ServedModel) -> Json:
    parameter = {"name": "label", "in": "path", "required": True, "description": "The label of a version."}
    return {**parameter, "schema": {"enum": list(model.labels)}}


def description(model: ServedModel) -> str:
    """Return a description of a model in one sentence."""
    info = model.info
    words = [f"Version {model.version}"]
    if info.label:
        words.append(f"predicts {info.label}")
    if info.positive:
        threshold = "" if info.threshold is None else f" (threshold {info.threshold:.4g})"
        words.append(f"positive class {info.positive}{threshold}")
    if info.members:
        words.append(f"{info.combiner.replace('_', ' ') or 'ensemble'} of {', '.join(info.members)}")
    return "; ".join(words) + "."


def component_name(model: str, signature: str) -> str:
    """Return the name of a component. OpenAPI allows few characters, so each other character becomes its code point."""
    plain = (re.sub(r"[^A-Za-z0-9_-]", lambda match: f"_{ord(match[0]):x}_", part) for part in (model, signature))
    return ".".join(plain)


def _finite(value: Any) -> Any:
    return 0.0 if isinstance(value, float) and not math.isfinite(value) else value


def _version() -> str:
    try:
        return version("benison")
    except PackageNotFoundError:
        return "unknown"
