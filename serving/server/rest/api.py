"""TF Serving's REST API. Paths, bodies, errors and codes are those of its http_rest_api_handler.cc."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote

import orjson

from benison.serving.server import inference
from benison.serving.server.batching.tasks import CallTask
from benison.serving.server.codec import column_names, json_answers, json_examples, json_values
from benison.serving.server.engine import Signature, Tensors, find_signature
from benison.serving.server.http import Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.large_bodies.decoder import Decoder
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.pages import site
from benison.serving.server.rest import explanations
from benison.serving.server.rest.explanations import Explanations
from benison.serving.server.service import Service, offload_if_large
from benison.serving.server.status import Code, RequestError, forget_frames, invalid
from benison.serving.server.version_header import Headers

_VERSION_OR_LABEL = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_INFERENCE_PATH = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_VERSION_OR_LABEL}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII
)
_STATUS_PATH = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION_OR_LABEL}(?:/(?P<verb>metadata))?", re.IGNORECASE | re.ASCII
)
_Answer = tuple[bytes, Headers]  # the body, and the header of the version that gave it
_MAX_CACHED_PATH = 512  # characters; a thousand paths of 64 kB each would stay in memory
MAX_BODY_HERE = 64 << 10  # bytes; to parse a larger body would stop others
_MAX_CELLS_HERE = 16 << 10  # values of a request, those of missing cells too
_CORS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "POST, GET"),
    ("Access-Control-Allow-Headers", "Content-Type"),
)


def cors_headers(cors: bool) -> tuple[tuple[str, str], ...]:
    """Return the CORS headers of every response; none if CORS is off."""
    return _CORS if cors else ()


@dataclass(frozen=True)
class Target:
    """The target of a request, as its path names it.

    Attributes:
        model: name of the model; empty if the path has none.
        version: version number, if the path has one.
        label: version label, if the path has one.
        verb: `predict`, `classify`, `regress`, `metadata` or `status`.
    """

    model: str
    version: int | None
    label: str | None
    verb: str


def parse_target(method: str, path: str) -> Target:
    """Parse the path of a request.

    Raises:
        RequestError: TF Serving has no such path, or the version is not an int64.
    """
    return (_parse_target if len(path) <= _MAX_CACHED_PATH else _parse_target.__wrapped__)(method, path)


@lru_cache(maxsize=1024)
def _parse_target(method: str, path: str) -> Target:
    pattern = {"POST": _INFERENCE_PATH, "GET": _STATUS_PATH}.get(method)
    match = pattern.fullmatch(path) if pattern else None
    # The case of the path does not matter, but TF Serving accepts only a lower-case verb.
    if not match or (match["verb"] or "").lower() != (match["verb"] or ""):
        raise invalid(f"Malformed request: {method} {path}")
    digits = (match["version"] or "").lstrip("0")[:40]  # Python reads no number of thousands of digits
    if digits and int(digits) > 2**63 - 1:
        raise invalid(f"Failed to convert version: {digits} to numeric.")
    return Target(
        model=unquote(match["model"] or ""),
        version=int(digits or 0) if match["version"] else None,
        label=unquote(match["label"]) if match["label"] else None,
        verb=match["verb"] or "status",
    )


def error_response(error: RequestError, headers: tuple[tuple[str, str], ...]) -> Response:
    """Return the response to a failed request.

    Args:
        error: the error.
        headers: headers of every response.
    """
    retry = (("Retry-After", "1"),) if error.code is Code.UNAVAILABLE else ()
    return Response(error.http_status, json_answers.error(error.message), headers=(*headers, *retry))


class Document(Protocol):
    """The parsed body of a request; see `LargeDocument`."""

    signature_name: str

    async def inputs(self, signature: Signature) -> tuple[Tensors, bool]:
        """Return the tensors of a predict request, and whether the answer must be in row form."""

    async def examples(self) -> Any:
        """Return the examples of a classify or regress request."""


class _SmallDocument:
    """A body that is read here, unless missing cells make many values of it."""

    def __init__(self, document: dict[str, Any], request: Request, decoder: Decoder, seconds: float | None) -> None:
        self.signature_name = json_values.signature_name(document)
        self._document = document
        self._request = request
        self._decoder = decoder
        self._seconds = seconds

    async def inputs(self, signature: Signature) -> tuple[Tensors, bool]:
        rows = self._document.get("instances")
        if isinstance(rows, list) and len(rows) * len(signature.inputs) > _MAX_CELLS_HERE:
            async with self._decoder.document(self._request.body, False, self._seconds) as document:
                return await document.inputs(signature)
        return column_names.read_inputs(self._document, signature)

    async def examples(self) -> Any:
        return json_examples.read_examples(self._document)


class RestApi:
    """The REST API; its `answer` is the handler of an HttpServer."""

    def __init__(self, service: Service, decoder: Decoder, timeout_ms: int, cors: bool, metrics_path: str) -> None:
        """Create the API.

        Args:
            service: the models.
            decoder: reads large bodies.
            timeout_ms: time limit of a request (milliseconds); 0: no limit.
            cors: whether responses have CORS headers.
            metrics_path: path of the Prometheus page; empty: no page.
        """
        self._service = service
        self._decoder = decoder
        self._timeout = timeout_ms / 1000 if timeout_ms > 0 else None
        self._cors = cors_headers(cors)
        self._metrics_path = metrics_path
        self._site = site.Site(service)
        self._explanations = Explanations(service)

    async def answer(self, request: Request) -> Response:
        """Answer a request. Client errors become responses, not exceptions."""
        if self._metrics_path and request.path == self._metrics_path:
            return Response(200, self._metrics().encode(), "text/plain")
        if not request.path.lower().startswith("/v1/"):
            if match := explanations.PATH.fullmatch(request.path):
                return await self._explanation(match, request)
            if site.has_path(request.path):
                return await self._site.answer(request)
            return Response(404, json_answers.error(f"Not Found: {request.path}"), headers=self._cors)
        if request.method == "OPTIONS":
            return self._preflight(request)
        try:
            body, headers = await self._dispatch(request)
            return Response(200, body, headers=headers + self._cors)
        except RequestError as error:
            forget_frames(error)
            return error_response(error, self._cors)

    async def _dispatch(self, request: Request) -> _Answer:
        try:
            target = parse_target(request.method, request.path)
        except RequestError as error:
            self._service.metrics.count("", error.code.name)
            raise
        with self._service.counted(target.model, target.verb, "REST"):
            if target.verb == "predict":
                return await self._predict(target, request)
            if target.verb in ("classify", "regress"):
                return await self._classify_or_regress(target, request)
            if not target.model:
                raise invalid("Missing model name in request.")
            return self._metadata(target) if target.verb == "metadata" else (self._status(target), ())

    async def _predict(self, target: Target, request: Request) -> _Answer:
        deadline = self._deadline()
        with ExitStack() as leased:
            async with self._document(request, deadline) as document:
                version = leased.enter_context(self._lease(target))
                signature = _predict_signature(version, document.signature_name)
                inputs, row_form = await document.inputs(signature)
            call = Call(signature, inputs, tuple(signature.outputs))
            outputs = await self._service.run(version, CallTask(_engine(version), call), _seconds_left(deadline))
        size = sum(values.nbytes for values in outputs.values())
        body = await offload_if_large(size, json_answers.predictions, outputs, signature.outputs, row_form)
        return body, version.headers

    async def _classify_or_regress(self, target: Target, request: Request) -> _Answer:
        from tensorflow_serving.apis import classification_pb2, regression_pb2

        deadline = self._deadline()
        classify = target.verb == "classify"
        async with self._document(request, deadline) as document:
            name, examples = document.signature_name, await document.examples()
        with self._lease(target) as version:
            make_call = inference.classify_call if classify else inference.regress_call
            call = make_call(_engine(version), name, examples, self._service.check_methods)
            outputs = await self._service.run(version, CallTask(_engine(version), call), _seconds_left(deadline))
        count = len(call.inputs["inputs"])
        result = classification_pb2.ClassificationResult() if classify else regression_pb2.RegressionResult()
        if classify:
            inference.fill_classification(result, outputs, count)
            return json_answers.classifications(result), version.headers
        inference.fill_regression(result, outputs, count)
        return json_answers.regressions(result), version.headers

    async def _explanation(self, match: re.Match[str], request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._preflight(request)
        if request.method not in ("GET", "HEAD", "POST"):
            return Response(405, json_answers.error(f"Method Not Allowed: {request.method} {request.path}"))
        target = Target(
            unquote(match["model"]),
            int(match["version"]) if match["version"] else None,
            unquote(match["label"]) if match["label"] else None,
            "explain",
        )
        try:
            with self._service.counted(target.model, target.verb, "REST"):
                explain = self._explain if request.method == "POST" else self._describe_explanations
                body, headers = await explain(target, request)
            return Response(200, body, headers=headers + self._cors)
        except RequestError as error:
            forget_frames(error)
            return error_response(error, self._cors)

    async def _describe_explanations(self, target: Target, request: Request) -> _Answer:
        with self._lease(target) as version:
            return await self._explanations.describe(version), version.headers

    async def _explain(self, target: Target, request: Request) -> _Answer:
        deadline = self._deadline()
        with ExitStack() as leased:
            async with self._document(request, deadline) as document:
                version = leased.enter_context(self._lease(target))
                prepared = await self._explanations.prepared(version, document.signature_name)
                inputs, _ = await document.inputs(prepared.signature)
            return await self._explanations.explain(version, prepared, inputs, deadline), version.headers

    @asynccontextmanager
    async def _document(self, request: Request, deadline: float | None) -> AsyncIterator[Document]:
        """Parse the body: here if it is small, else in another process."""
        if len(request.body) <= MAX_BODY_HERE and not request.gzipped:
            yield _SmallDocument(json_values.parse(request.body), request, self._decoder, _seconds_left(deadline))
        else:
            async with self._decoder.document(request.body, request.gzipped, _seconds_left(deadline)) as document:
                yield document

    def _lease(self, target: Target) -> AbstractContextManager[ManagedVersion]:
        return self._service.models.lease(target.model, target.version, target.label)

    def _status(self, target: Target) -> bytes:
        # A label has no effect here: like TF Serving, list every version.
        versions = self._service.models.status(target.model, target.version)
        return orjson.dumps({"model_version_status": [_version_status(version) for version in versions]})

    def _metadata(self, target: Target) -> _Answer:
        with self._service.models.lease(target.model, target.version, target.label) as version:
            signatures = {name: _signature_json(s.proto) for name, s in _engine(version).signatures.items()}
        spec = {"name": version.model, "signature_name": "", "version": str(version.number)}
        document = {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}
        return orjson.dumps(document), version.headers

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

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout


def _seconds_left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()


def _predict_signature(version: ManagedVersion, name: str) -> Signature:
    message = 'Serving signature name: "{}" not found in signature def'
    signature = find_signature(_engine(version), name, Code.INVALID_ARGUMENT, message)
    if not signature.inputs:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return signature


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
