"""TF Serving's REST API: paths, bodies, errors and codes as in its http_rest_api_handler.cc."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

from benison.serving.server import inference
from benison.serving.server.codec import json_answers, json_examples, json_tensors, json_values
from benison.serving.server.engine import Signature, Tensors, signature
from benison.serving.server.http import Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.lifecycle import ManagedVersion
from benison.serving.server.pages import site
from benison.serving.server.rest import column_names
from benison.serving.server.service import Service, aside
from benison.serving.server.status import Code, RequestError, http_status, invalid

_PLACE = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(rf"/v1/models/(?P<model>[^/:]+){_PLACE}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_LOOK = re.compile(rf"/v1/models(?:/(?P<model>[^/:]+))?{_PLACE}(?:/(?P<verb>metadata))?", re.IGNORECASE | re.ASCII)
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


def cors_headers(cors: bool) -> tuple[tuple[str, str], ...]:
    """The headers of every answer where browsers of other origins may ask."""
    return _CORS if cors else ()


@dataclass(frozen=True)
class Target:
    """What a path names.

    Attributes:
        model: its name; empty where there is none.
        version: its number, if given.
        label: its label, if given.
        verb: `predict`, `classify`, `regress`, `metadata` or `status`.
    """

    model: str
    version: int | None
    label: str | None
    verb: str


@lru_cache(maxsize=1024)
def target(method: str, path: str) -> Target:
    """What a request is about.

    Raises:
        RequestError: the path is none of TF Serving's, or the version no int64.
    """
    pattern = {"POST": _ASK, "GET": _LOOK}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    # The path may be in any case, the verb not: TF Serving finds no one to answer it.
    if not match or (match["verb"] or "").lower() != (match["verb"] or ""):
        raise invalid(f"Malformed request: {method} {path}")
    if match["version"] and int(match["version"][:40]) > 2**63 - 1:
        raise invalid(f"Failed to convert version: {match['version'][:40]} to numeric.")
    return Target(
        model=unquote(match["model"] or ""),
        version=int(match["version"]) if match["version"] else None,
        label=unquote(match["label"]) if match["label"] else None,
        verb=match["verb"] or "status",
    )


def error_response(error: RequestError, headers: tuple[tuple[str, str], ...]) -> Response:
    """The response to a request that failed.

    Args:
        error: why.
        headers: of every answer.
    """
    retry = (("Retry-After", "1"),) if error.code is Code.UNAVAILABLE else ()
    return Response(http_status(error.code), json_answers.error(error.message), headers=(*headers, *retry))


class Rest:
    """Answers HTTP requests; `answer` is the handler of an HttpServer."""

    def __init__(self, service: Service, timeout_ms: int, cors: bool, metrics_path: str) -> None:
        """As the flags say.

        Args:
            service: the models.
            timeout_ms: for one request (milliseconds); 0 for any.
            cors: whether browsers of other origins may ask.
            metrics_path: of the Prometheus page; empty for none.
        """
        self._service = service
        self._seconds = timeout_ms / 1000 if timeout_ms > 0 else None
        self._cors = cors_headers(cors)
        self._metrics_path = metrics_path
        self._site = site.Site(service)

    async def answer(self, request: Request) -> Response:
        """The response to a request; never raises for what a client did."""
        if self._metrics_path and request.path == self._metrics_path:
            return Response(200, self._metrics().encode(), "text/plain")
        if not request.path.lower().startswith("/v1/"):
            if site.owns(request.path):
                return await self._site.answer(request)
            return Response(404, json_answers.error(f"Not Found: {request.path}"))
        if request.method == "OPTIONS":
            return self._preflight(request)
        try:
            return Response(200, await self._dispatch(request), headers=self._cors)
        except RequestError as error:
            return error_response(error, self._cors)

    async def _dispatch(self, request: Request) -> bytes:
        try:
            place = target(request.method, request.path)
        except RequestError as error:
            self._service.metrics.count("", error.code.name)
            raise
        with self._service.counted(place.model, place.verb, "REST"):
            if place.verb == "predict":
                return await self._predict(place, request.body)
            if place.verb in ("classify", "regress"):
                return await self._classify_or_regress(place, request.body)
            if not place.model:
                raise invalid("Missing model name in request.")
            return self._metadata(place) if place.verb == "metadata" else self._status(place)

    async def _predict(self, place: Target, body: bytes) -> bytes:
        until = self._until()
        document = await aside(len(body), json_values.parse, body)
        name = json_values.signature_name(document)
        with self._service.models.lease(place.model, place.version, place.label) as version:
            asked = _asked(version, name)
            inputs, row_form = await _inputs(len(body), document, asked, version.path)
            call = Call(asked, inputs, tuple(asked.outputs))
            outputs = await self._service.run(version, call, self._left(until))
        size = sum(values.nbytes for values in outputs.values())
        return await aside(size, json_answers.predictions, outputs, asked.outputs, row_form)

    async def _classify_or_regress(self, place: Target, body: bytes) -> bytes:
        from tensorflow_serving.apis import classification_pb2, regression_pb2

        until = self._until()
        document = await aside(len(body), json_values.parse, body)
        name = json_values.signature_name(document)
        examples = await aside(len(body), json_examples.examples, document)
        classify = place.verb == "classify"
        with self._service.models.lease(place.model, place.version, place.label) as version:
            make = inference.classify_call if classify else inference.regress_call
            call = make(_engine(version), name, examples, self._service.check_methods)
            outputs = await self._service.run(version, call, self._left(until))
        count = len(call.inputs["inputs"])
        result = classification_pb2.ClassificationResult() if classify else regression_pb2.RegressionResult()
        if classify:
            inference.fill_classification(result, outputs, count)
            return json_answers.classifications(result)
        inference.fill_regression(result, outputs, count)
        return json_answers.regressions(result)

    def _status(self, place: Target) -> bytes:
        # A label does not choose here: TF Serving's answer lists every version then.
        versions = self._service.models.status(place.model, place.version)
        return orjson.dumps({"model_version_status": [_version_status(version) for version in versions]})

    def _metadata(self, place: Target) -> bytes:
        with self._service.models.lease(place.model, place.version, place.label) as version:
            signatures = {name: _signature_json(s.proto) for name, s in _engine(version).signatures.items()}
        spec = {"name": version.model, "signature_name": "", "version": str(version.number)}
        return orjson.dumps({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})

    def _preflight(self, request: Request) -> Response:
        if re.match(rb"https?://", request.headers.get(b"origin", b"")):
            return Response(200, b"", headers=self._cors)
        return Response(400, json_answers.error("Origin header is missing in CORS preflight"), headers=self._cors)

    def _metrics(self) -> str:
        gauges = []
        for name, versions in sorted(self._service.models.versions.items()):
            for version in versions.values():
                if version.runner:
                    labels = {"model_name": name, "version": str(version.number)}
                    gauges.append((":benison:serving:queue_length", labels, float(version.runner.waiting)))
        return self._service.metrics.page(gauges)

    def _until(self) -> float | None:
        return None if self._seconds is None else time.monotonic() + self._seconds

    def _left(self, until: float | None) -> float | None:
        return None if until is None else until - time.monotonic()


async def _inputs(size: int, document: dict[str, Any], asked: Signature, path: str) -> tuple[Tensors, bool]:
    """The tensors of a predict request, and whether its answer is to be in row form.

    Names of columns that the signature has under another name are tried second, so that nobody else pays for them.
    """
    try:
        return await aside(size, json_tensors.inputs, document, asked.inputs)
    except RequestError:
        renamed = await asyncio.to_thread(column_names.in_signature, document, path)
        if renamed is None:
            raise
    return await aside(size, json_tensors.inputs, renamed, asked.inputs)


def _asked(version: ManagedVersion, name: str) -> Signature:
    message = 'Serving signature name: "{}" not found in signature def'
    asked = signature(_engine(version), name, Code.INVALID_ARGUMENT, message)
    if not asked.inputs:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return asked


def _engine(version: ManagedVersion) -> Any:
    if version.engine is None:
        raise RequestError(Code.UNAVAILABLE, f"model {version.model} version {version.number} is not loaded")
    return version.engine


def _version_status(version: ManagedVersion) -> dict[str, Any]:
    error = version.error if version.state.name == "END" else None
    return {
        "version": str(version.number),
        "state": version.state.name,
        "status": {
            "error_code": error.code.name if error else "OK",
            "error_message": error.message if error else "",
        },
    }


def _signature_json(proto: Any) -> Any:
    from google.protobuf import json_format

    try:
        return json_format.MessageToDict(
            proto, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    except TypeError:  # protobuf before 26
        return json_format.MessageToDict(proto, preserving_proto_field_name=True, including_default_value_fields=True)
