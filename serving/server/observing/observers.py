"""Requests as logs and traces see them. Put around REST and gRPC only where somebody looks: else it costs nothing."""

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

from benison.serving.server.codec import json_answers
from benison.serving.server.engine import Tensors
from benison.serving.server.http import Begin, Cancellable, Handler, Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.lifecycle import ManagedVersion
from benison.serving.server.service import Service

REQUEST_ID = "x-request-id"
_LONGEST_ID = 128
_log = logging.getLogger(__name__)


@dataclass
class Seen:
    """One request; what is not known before its end is filled in meanwhile.

    Attributes:
        protocol: `REST` or `GRPC`.
        name: `POST /v1/models/m:predict`, or `tensorflow.serving.PredictionService/Predict`.
        headers: by lower-case name; gRPC's metadata.
        request_id: the client's X-Request-Id, or one of ours.
        begun: time.perf_counter() (seconds).
        model: that ran; empty where none did.
        version: of it.
        signature: that was asked for.
        rows: of the request; 0 where it has no rows.
        status: HTTP's status or gRPC's code.
        failed: whether it was the server's fault.
        trace_id: where there is a trace.
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
    def ms(self) -> float:
        """Since the request began (milliseconds)."""
        return (time.perf_counter() - self.begun) * 1000


class Observer(Protocol):
    """Who looks at requests."""

    def wants(self) -> bool:
        """Whether it looks at the next one."""

    def around(self, seen: Seen) -> AbstractContextManager[None]:
        """What it does before and after a request."""

    def around_run(self, seen: Seen) -> AbstractContextManager[None]:
        """What it does before and after the model's part in it."""


_current: ContextVar[tuple[Seen, Sequence[Observer]] | None] = ContextVar("observed request", default=None)


@dataclass(frozen=True)
class ObservedService(Service):
    """A service that tells the observers which model ran for a request."""

    async def run(self, version: ManagedVersion, call: Call, seconds: float | None) -> Tensors:
        """See Service."""
        current = _current.get()
        if current is None:
            return await super().run(version, call, seconds)
        seen, observers = current
        seen.model, seen.version = version.model, version.number
        seen.signature, seen.rows = call.signature.name, _rows(call)
        with ExitStack() as stack:
            for observer in observers:
                stack.enter_context(observer.around_run(seen))
            return await super().run(version, call, seconds)


def begin(quick: Begin, handler: Handler, observers: Sequence[Observer]) -> Begin:
    """What takes the requests that somebody looks at, by the plain path; the others go their quickest way.

    Args:
        quick: takes the others, if it can.
        handler: the plain path.
        observers: who may want to look.
    """

    def begun(request: Request, reply: Callable[[Response], None]) -> Cancellable | None:
        looking = [observer for observer in observers if observer.wants()]
        if not looking:
            return quick(request, reply)
        task = asyncio.get_running_loop().create_task(answer(handler, request, looking))
        task.add_done_callback(partial(_reply, reply))
        return task

    return begun


async def answer(handler: Handler, request: Request, observers: Sequence[Observer]) -> Response:
    """The handler's response while observers look on, with X-Request-Id."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
    seen = Seen("REST", f"{request.method} {request.path}", headers, _request_id(headers))
    with _observing(seen, observers):
        try:
            response = await handler(request)
        except Exception:
            _log.exception("an error of the server's own")
            response = Response(500, json_answers.error("Internal error"))
        seen.status, seen.failed = str(response.status), response.status >= 500
    return response._replace(headers=(*response.headers, (REQUEST_ID, seen.request_id)))


def _reply(reply: Callable[[Response], None], task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        reply(task.result())


class GrpcInterceptor(grpc.aio.ServerInterceptor):
    """The same for gRPC; the request id goes into the trailing metadata."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wraps a method."""
        method = await continuation(handler_call_details)
        looking = [observer for observer in self._observers if observer.wants()]
        if method is None or method.unary_unary is None or not looking:
            return method
        name = handler_call_details.method.lstrip("/")

        async def observed(request: Any, context: Any) -> Any:
            metadata = context.invocation_metadata() or ()
            headers = {key: value for key, value in metadata if isinstance(value, str)}
            seen = Seen("GRPC", name, headers, _request_id(headers))
            context.set_trailing_metadata(((REQUEST_ID, seen.request_id),))
            with _observing(seen, looking):
                try:
                    return await method.unary_unary(request, context)
                finally:
                    code = _code(context.code())
                    seen.status, seen.failed = code.name, code in _SERVERS_FAULT

        return grpc.unary_unary_rpc_method_handler(observed, method.request_deserializer, method.response_serializer)


_SERVERS_FAULT = frozenset(
    [
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    ]
)  # as OpenTelemetry's conventions for gRPC servers count it


def _code(code: Any) -> grpc.StatusCode:
    """What a context says: nothing, or 0, as long as nothing went wrong."""
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.OK


def _observing(seen: Seen, observers: Sequence[Observer]) -> ExitStack:
    stack = ExitStack()
    token = _current.set((seen, observers))
    stack.callback(_current.reset, token)
    for observer in observers:
        stack.enter_context(observer.around(seen))
    return stack


def _rows(call: Call) -> int:
    shape = next((values.shape for values in call.inputs.values()), ())
    return int(shape[0]) if call.signature.batched and shape else 0


def _request_id(headers: Mapping[str, str]) -> str:
    """The client's, if it is one that can stand in a header and in a log."""
    given = headers.get(REQUEST_ID, "")
    fits = 0 < len(given) <= _LONGEST_ID and given.isascii() and given.isprintable()
    return given if fits else os.urandom(8).hex()
