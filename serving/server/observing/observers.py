"""Observers of requests, such as logs and traces. Without observers, requests do not pass through this module."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import grpc

from benison.serving.server.batching.tasks import BatchTask
from benison.serving.server.codec import json_answers
from benison.serving.server.engine import Tensors
from benison.serving.server.http import Begin, Cancellable, Handler, Request, Response
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.service import Service

REQUEST_ID = "x-request-id"
_MAX_ID_LENGTH = 128
_log = logging.getLogger(__name__)


@dataclass
class ObservedRequest:
    """A request that is being observed. Fields that are not known at its start are set while it runs.

    Attributes:
        protocol: `REST` or `GRPC`.
        name: `POST /v1/models/m:predict`, or `tensorflow.serving.PredictionService/Predict`.
        headers: HTTP headers or gRPC metadata, by lower-case name.
        request_id: the client's X-Request-Id, or a generated one.
        begun: start of the request, from time.perf_counter() (seconds).
        model: name of the model that ran; empty if none did.
        version: number of its version.
        signature: name of the requested signature.
        rows: number of rows in the request; 0 if it has no rows.
        status: HTTP status or gRPC code; empty while the request runs.
        failed: whether the request failed because of the server.
        trace_id: id of its trace; empty without a trace.
    """

    protocol: str
    name: str
    headers: Mapping[str, str]
    request_id: str
    begun: float = field(default_factory=time.perf_counter)
    model: str = ""
    version: int = 0
    signature: str = ""
    rows: int = 0
    status: str = ""
    failed: bool = False
    trace_id: str = ""

    @property
    def milliseconds(self) -> float:
        """Time since the start of the request (milliseconds)."""
        return (time.perf_counter() - self.begun) * 1000


class Observer(Protocol):
    """An observer of requests."""

    def observes_next(self) -> bool:
        """Return True if the next request must be observed."""

    def observe_request(self, request: ObservedRequest) -> AbstractContextManager[None]:
        """Observe a request; the context spans its handling."""

    def observe_run(self, request: ObservedRequest) -> AbstractContextManager[None]:
        """Observe the run of the model for a request; the context spans the run."""


_current: ContextVar[tuple[ObservedRequest, Sequence[Observer]] | None] = ContextVar("observed request", default=None)


@dataclass(frozen=True)
class ObservedService(Service):
    """A service that reports to the observers which model ran for a request."""

    async def run(self, version: ManagedVersion, task: BatchTask, seconds: float | None) -> Tensors:
        """See Service."""
        current = _current.get()
        if current is None:
            return await super().run(version, task, seconds)
        request, observers = current
        request.model, request.version = version.model, version.number
        request.signature, request.rows = task.signature, task.rows
        with ExitStack() as stack:
            for observer in observers:
                stack.enter_context(observer.observe_run(request))
            return await super().run(version, task, seconds)


def begin(inline: Begin, handler: Handler, observers: Sequence[Observer]) -> Begin:
    """Return a function that sends observed requests through the plain path, and all others to the inline path.

    Args:
        inline: takes the requests that are not observed, if it can.
        handler: the plain path.
        observers: the observers; each decides per request.
    """

    def begin_request(request: Request, reply: Callable[[Response], None]) -> Cancellable | None:
        active = [observer for observer in observers if observer.observes_next()]
        if not active:
            return inline(request, reply)
        task = asyncio.get_running_loop().create_task(answer(handler, request, active))
        task.add_done_callback(partial(_reply, reply))
        return task

    return begin_request


async def answer(handler: Handler, request: Request, observers: Sequence[Observer]) -> Response:
    """Answer a request while it is observed; the response has the header X-Request-Id."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    observed = ObservedRequest("REST", f"{request.method} {request.path}", headers, _request_id(headers))
    with _observing(observed, observers):
        try:
            response = await handler(request)
        except Exception:
            _log.exception("internal error; the request is answered with status 500")
            response = Response(500, json_answers.error("Internal error"))
        observed.status, observed.failed = str(response.status), response.status >= 500
    return response._replace(headers=(*response.headers, (REQUEST_ID, observed.request_id)))


def _reply(reply: Callable[[Response], None], task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        reply(task.result())


class GrpcInterceptor(grpc.aio.ServerInterceptor):
    """An interceptor that lets observers observe gRPC calls; it adds the request id to the trailing metadata."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Return the handler of a call, wrapped if the call is observed."""
        method = await continuation(handler_call_details)
        active = [observer for observer in self._observers if observer.observes_next()]
        if method is None or method.unary_unary is None or not active:
            return method
        name = handler_call_details.method.lstrip("/")

        async def call(message: Any, context: Any) -> Any:
            metadata = context.invocation_metadata() or ()
            headers = {key: value for key, value in metadata if isinstance(value, str)}
            observed = ObservedRequest("GRPC", name, headers, _request_id(headers))
            context.set_trailing_metadata(((REQUEST_ID, observed.request_id),))
            with _observing(observed, active):
                try:
                    return await method.unary_unary(message, context)
                finally:
                    code = _code(context.code())
                    observed.status, observed.failed = code.name, code in _SERVER_ERRORS

        return grpc.unary_unary_rpc_method_handler(call, method.request_deserializer, method.response_serializer)


_SERVER_ERRORS = frozenset(
    [
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    ]
)  # the codes that OpenTelemetry's conventions count as errors of a gRPC server


def _code(code: Any) -> grpc.StatusCode:
    """Return the code of a context, which is None or 0 until an error sets it."""
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK


def _observing(request: ObservedRequest, observers: Sequence[Observer]) -> ExitStack:
    stack = ExitStack()
    token = _current.set((request, observers))
    stack.callback(_current.reset, token)
    for observer in observers:
        stack.enter_context(observer.observe_request(request))
    return stack


def _request_id(headers: Mapping[str, str]) -> str:
    """Return the client's id if it is safe in a header and in a log, else a generated one."""
    request_id = headers.get(REQUEST_ID, "")
    is_valid = 0 < len(request_id) <= _MAX_ID_LENGTH and request_id.isascii() and request_id.isprintable()
    return request_id if is_valid else os.urandom(8).hex()
