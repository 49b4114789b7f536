"""A trace has one span per request, which continues the caller's trace, and one for the run of the model."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import numpy as np
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from benison.serving.server.batching.tasks import CallTask
from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.http import Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.observing import observers, tracing
from benison.serving.server.observing.observers import ObservedService
from benison.serving.server.status import RequestError

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL = Call(
    Signature("s", "", {"x": TensorSpec("float32", (-1,))}, {"y": TensorSpec("float32", (-1,))}),
    {"x": np.zeros(3, np.float32)},
    ("y",),
)


def spans_of(headers: dict[bytes, bytes], status: int = 200, run: bool = True) -> list[Any]:
    """Return the spans of one request, to a version that is not loaded: so the test needs no TensorFlow."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service: Any = ObservedService(models=None)
    engine: Any = None

    async def handler(request: Request) -> Response:
        if run:
            with pytest.raises(RequestError, match="is not loaded"):
                await service.run(ManagedVersion("m", 7, "/m/7"), CallTask(engine, CALL), None)
        return Response(status, b"")

    request = Request("POST", "/v1/models/m:predict", headers, b"")
    asyncio.run(observers.answer(handler, request, [tracing.Tracing(provider)]))
    return list(exporter.get_finished_spans())


def test_a_request_continues_the_callers_trace() -> None:
    run, request = spans_of({b"traceparent": f"00-{TRACE}-{CALLER}-01".encode(), b"x-request-id": b"abc"})
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == CALLER
    assert run.parent.span_id == request.context.span_id
    assert (request.name, request.kind) == ("POST predict", SpanKind.SERVER)
    assert run.name == "run m"
    assert dict(run.attributes) == {
        "benison.model": "m", "benison.version": 7, "benison.signature": "s", "benison.rows": 3,
    }  # fmt: skip
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["url.path"] == "/v1/models/m:predict"
    assert request.attributes["benison.request_id"] == "abc"
    assert request.attributes["benison.version"] == 7


@pytest.mark.parametrize("header", [{}, {b"traceparent": b"nonsense"}])
def test_without_a_caller_the_server_starts_a_trace(header: dict[bytes, bytes]) -> None:
    (request,) = spans_of(header, run=False)
    assert request.parent is None


def test_a_caller_who_does_not_sample_is_not_sampled() -> None:
    assert spans_of({b"traceparent": f"00-{TRACE}-{CALLER}-00".encode()}) == []


@pytest.mark.parametrize(
    ("status", "code"), [(200, StatusCode.UNSET), (404, StatusCode.UNSET), (503, StatusCode.ERROR)]
)
def test_only_the_servers_own_failures_are_errors(status: int, code: StatusCode) -> None:
    (request,) = spans_of({}, status=status, run=False)
    assert request.status.status_code is code


@pytest.mark.parametrize(
    ("environment", "enabled"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_tracing_is_on_if_a_collector_is_named(environment: dict[str, str], enabled: bool) -> None:
    assert tracing.is_enabled(environment) is enabled


def test_a_missing_package_gives_one_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.json.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert tracing.configure({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}) is None
    (line,) = caplog.messages
    assert line.startswith("OTEL_EXPORTER_OTLP_ENDPOINT is set, but tracing is off: ")
    assert line.endswith("pip install 'benison[otel]'")
