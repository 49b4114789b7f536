"""OpenTelemetry traces: one span per request, which continues the caller's trace, and one for the run of the model.

Tracing needs `pip install benison[otel]`. It is on if OpenTelemetry's own variables name a collector.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from benison.serving.server.observing.observers import ObservedRequest

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE_NAME = "benison-model-server"
_FLUSH_SECONDS = 5.0  # time limit for sending the remaining spans when the server stops
_log = logging.getLogger(__name__)


def is_enabled(environment: Mapping[str, str]) -> bool:
    """Return True if the environment names a collector and does not turn tracing off."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in _ENDPOINTS)


def configure(environment: Mapping[str, str]) -> Tracing | None:
    """Return tracing as OpenTelemetry's variables configure it, or None if it is off.

    If its packages are missing, it logs one warning and returns None.
    """
    if not is_enabled(environment):
        return None
    try:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        name = next(name for name in _ENDPOINTS if environment.get(name))
        _log.warning("%s is set, but tracing is off: %s; run: pip install 'benison[otel]'", name, error)
        return None
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _SERVICE_NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """An observer that creates spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("benison")

    def observes_next(self) -> bool:
        """See Observer. The sampler and the caller decide which traces are kept."""
        return True

    @contextmanager
    def observe_request(self, request: ObservedRequest) -> Iterator[None]:
        """See Observer."""
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind

        parent = propagate.extract(request.headers)
        with self._tracer.start_as_current_span(_span_name(request), parent, SpanKind.SERVER) as span:
            request.trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                yield
            finally:
                _set_result(span, request)

    @contextmanager
    def observe_run(self, request: ObservedRequest) -> Iterator[None]:
        """See Observer."""
        with self._tracer.start_as_current_span(f"run {request.model}") as span:
            _set_model(span, request)
            yield

    def close(self) -> None:
        """Send the remaining spans; block for at most 5 seconds, because the collector may be unreachable."""
        thread = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        thread.start()
        thread.join(_FLUSH_SECONDS)


def _span_name(request: ObservedRequest) -> str:
    """Return the name of a span, without names and numbers from the path: the number of names must stay small."""
    if request.protocol == "GRPC":
        return request.name
    method, _, path = request.name.partition(" ")
    verb = path.rpartition(":")[2] if ":" in path else ""
    return f"{method} {verb}" if verb in ("predict", "classify", "regress") else method


def _set_model(span: Span, request: ObservedRequest) -> None:
    span.set_attributes({"benison.model": request.model, "benison.version": request.version})
    span.set_attributes({"benison.signature": request.signature, "benison.rows": request.rows})


def _set_result(span: Span, request: ObservedRequest) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("benison.request_id", request.request_id)
    if request.protocol == "GRPC":
        service, _, method = request.name.rpartition("/")
        span.set_attributes({"rpc.system": "grpc", "rpc.service": service, "rpc.method": method})
        span.set_attribute("rpc.response.status_code", request.status)
    else:
        method, _, path = request.name.partition(" ")
        span.set_attributes({"http.request.method": method, "url.path": path, "url.scheme": "http"})
        if request.status:
            span.set_attribute("http.response.status_code", int(request.status))
    if request.model:
        _set_model(span, request)
    if request.failed:
        span.set_status(StatusCode.ERROR)
