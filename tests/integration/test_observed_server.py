"""A real server logs requests and sends spans, for REST and gRPC; its pages read a version's folder."""

from __future__ import annotations

import http.server
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from benison.serving.server.pages import model_info
from tests.integration.conftest import Project
from tests.integration.model_server import predict_request, publish, running, write_model

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OTLP/HTTP receiver: its address, and the spans that arrived."""
    spans: list[dict[str, Any]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in sent["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    spans.extend({**span, "resource": _attributes(resource["resource"])} for span in scope["spans"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    thread.join()
    server.server_close()


def _attributes(described: dict[str, Any]) -> dict[str, str]:
    return {entry["key"]: str(next(iter(entry["value"].values()))) for entry in described.get("attributes", [])}


def test_requests_are_logged_and_traced(tmp_path: Path, collector: tuple[str, list[dict[str, Any]]]) -> None:
    endpoint, spans = collector
    publish(write_model(tmp_path / "made", 1.0), tmp_path / "m", 7)
    environment = {"BENISON_LOG": "json", "BENISON_ACCESS_LOG": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}"]
    with running(tmp_path, *flags, environment=environment) as server:
        asked = {"X-Request-Id": "by-rest", "traceparent": TRACEPARENT}
        body = {"instances": [1.0, 2.0]}
        assert server.ask("POST", "/v1/models/m:predict", body, asked) == (200, {"predictions": [1.5, 2.0]})
        assert server.ask("POST", "/v1/models/none:predict", body, {"X-Request-Id": "refused"})[0] == 404
        with server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_request({"x": [1.0, 2.0, 3.0]})
            asked_by_grpc = (("x-request-id", "by-grpc"), ("traceparent", TRACEPARENT), ("other-bin", b"\xff"))
            _, call = stub.Predict.with_call(request, metadata=asked_by_grpc, timeout=30)
            assert ("x-request-id", "by-grpc") in [tuple(entry) for entry in call.trailing_metadata()]
            unknown = predict_request({"x": [1.0]}, model="none")
            with pytest.raises(grpc.RpcError, match="Servable not found"):
                stub.Predict(unknown, metadata=(("x-request-id", "grpc-refused"),), timeout=30)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    # TensorFlow's C++ writes to stderr, too, in its own form.
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]

    events = [(line["event"], line.get("state")) for line in lines if "event" in line]
    assert events[:2] == [("version", "LOADING"), ("version", "AVAILABLE")]
    assert ("listening", None) in events
    assert events[-1] == ("stopping", None)

    told = {line["request_id"]: line for line in lines if "request_id" in line}
    assert told["by-rest"]["request"] == "POST /v1/models/m:predict"
    assert told["by-grpc"]["request"] == "tensorflow.serving.PredictionService/Predict"
    statuses = {name: line["status"] for name, line in told.items()}
    assert statuses == {"by-rest": 200, "refused": 404, "by-grpc": "OK", "grpc-refused": "NOT_FOUND"}
    for name, rows in (("by-rest", 2), ("by-grpc", 3)):
        known = {key: told[name][key] for key in ("model", "version", "signature", "rows", "trace_id")}
        assert known == {"model": "m", "version": 7, "signature": "serving_default", "rows": rows, "trace_id": TRACE}

    traced = [span for span in spans if span["traceId"] == TRACE]
    requests = {span["name"]: span for span in traced if span.get("parentSpanId") == CALLER}
    assert sorted(requests) == ["POST predict", "tensorflow.serving.PredictionService/Predict"]
    runs = {span["parentSpanId"]: span for span in traced if span["name"] == "run m"}
    assert runs.keys() == {span["spanId"] for span in requests.values()}
    assert all(_attributes(span)["benison.version"] == "7" for span in traced)
    assert {span["resource"]["service.name"] for span in spans} == {"benison-model-server"}


def test_a_pushed_version_shows_its_inputs(pushed: Project) -> None:
    known = model_info.read(str(pushed.base / pushed.versions()[-1]))
    assert known.label == "species"
    assert "species" not in known.columns
    assert known.columns["island"].choices == ("Biscoe", "Dream", "Torgersen")
    assert known.members == ("linear", "quadratic", "deep")
    assert sum(known.weights.values()) in (0, pytest.approx(1))
