"""OpenTelemetry traces: a span per request, which goes on the caller's trace, and one for the model's part in it.

Needs `pip install benison[otel]`; it is on where OpenTelemetry's own variables name a collector.
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

    from benison.serving.server.observing.observers import Seen

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE = "benison-model-server"
_LAST_SECONDS = 5.0  # for the spans that are still to be sent when the server stops
_log = logging.getLogger(__name__)


def wanted(environment: Mapping[str, str]) -> bool:
    """Whether the environment names a collector and does not switch traces off."""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environment.get(name) for name in _ENDPOINTS)


def configure(environment: Mapping[str, str]) -> Tracing | None:
    """Tracing as OpenTelemetry's variables say; None where it is not wanted.

    Where its packages are missing, that is said once, and the server goes on without.
    """
    if not wanted(environment):
        return None
    try:
        from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        name = next(name for name in _ENDPOINTS if environment.get(name))
        _log.warning("%s is set, but there will be no traces: %s; pip install 'benison[otel]'", name, error)
        return None
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: _SERVICE}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """An observer that makes spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("benison")

    def wants(self) -> bool:
        """See Observer. Which traces are kept is the sampler's business, and the caller's."""
        return True

    @contextmanager
    def around(self, seen: Seen) -> Iterator[None]:
        """See Observer."""
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind

        parent = propagate.extract(seen.headers)
        with self._tracer.start_as_current_span(_name(seen), parent, SpanKind.SERVER) as span:
            seen.trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                yield
            finally:
                _finish(span, seen)

    @contextmanager
    def around_run(self, seen: Seen) -> Iterator[None]:
        """See Observer."""
        with self._tracer.start_as_current_span(f"run {seen.model}") as span:
            _describe(span, seen)
            yield

    def close(self) -> None:
        """Sends what is left, but does not wait long for a collector that is away; blocks."""
        sending = threading.Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(_LAST_SECONDS)


def _name(seen: Seen) -> str:
    """A span's name, of which there must be few: without the path's names and numbers."""
    if seen.protocol == "GRPC":
        return seen.name
    method, _, path = seen.name.partition(" ")
    verb = path.rpartition(":")[2] if ":" in path else ""
    return f"{method} {verb}" if verb in ("predict", "classify", "regress") else method


def _describe(span: Span, seen: Seen) -> None:
    span.set_attributes({"benison.model": seen.model, "benison.version": seen.version})
    span.set_attributes({"benison.signature": seen.signature, "benison.rows": seen.rows})


def _finish(span: Span, seen: Seen) -> None:
    from opentelemetry.trace import StatusCode

    span.set_attribute("benison.request_id", seen.request_id)
    if seen.protocol == "GRPC":
        service, _, method = seen.name.rpartition("/")
        span.set_attributes({"rpc.system": "grpc", "rpc.service": service, "rpc.method": method})
        span.set_attribute("rpc.response.status_code", seen.status)
    else:
        method, _, path = seen.name.partition(" ")
        span.set_attributes({"http.request.method": method, "url.path": path, "url.scheme": "http"})
        if seen.status:
            span.set_attribute("http.response.status_code", int(seen.status))
    if seen.model:
        _describe(span, seen)
    if seen.failed:
        span.set_status(StatusCode.ERROR)
