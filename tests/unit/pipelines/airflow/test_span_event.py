"""A new span is posted to Airflow, if there is one; a failed post is only a warning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from benison.pipelines.airflow import api, span_event
from benison.pipelines.data.spans import Span

_SPAN = Span(4, 100, "ab" * 32, 0.0)


class _Airflow(HTTPServer):
    requests: list[tuple]


class _Asked(BaseHTTPRequestHandler):
    """Answers as Airflow's API does, and stores the requests."""

    known = "benison://flights/spans"
    server: _Airflow

    def do_GET(self) -> None:
        assets = [{"id": 7, "uri": self.known}]
        self._answer({"assets": assets, "import_errors": [], "total_entries": 0 if "importErrors" in self.path else 1})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers.get("Authorization"), body))
        self._answer({"access_token": "token"} if self.path == "/auth/token" else {})

    def _answer(self, body) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def airflow() -> Iterator[_Airflow]:
    server = _Airflow(("127.0.0.1", 0), _Asked)
    server.requests = []
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _environment(port: int) -> dict[str, str]:
    return {api.URL: f"http://127.0.0.1:{port}", api.USER: "me", api.PASSWORD: "secret"}


def test_the_event_of_the_pipelines_spans_is_posted(airflow) -> None:
    (message,) = span_event.post_span_event("flights", _SPAN, _environment(airflow.server_port))
    assert message.endswith("benison://flights/spans")
    (signed_in, event) = airflow.requests
    assert signed_in == ("/auth/token", None, {"username": "me", "password": "secret"})
    assert event[:2] == ("/api/v2/assets/events", "Bearer token")
    assert event[2] == {"asset_id": 7, "extra": {"span": 4, "rows": 100, "sha256": "ab" * 32}}


def test_an_asset_that_no_dag_knows_is_a_warning(airflow) -> None:
    (message,) = span_event.post_span_event("penguins", _SPAN, _environment(airflow.server_port))
    assert message.startswith("warning: the span has landed, but Airflow was not notified: ")


def test_an_airflow_that_does_not_answer_is_a_warning(airflow) -> None:
    environment = _environment(airflow.server_port)
    airflow.shutdown()
    airflow.server_close()
    (message,) = span_event.post_span_event("flights", _SPAN, environment)
    assert message.startswith("warning: the span has landed")
    assert "secret" not in message


def test_without_an_airflow_nothing_is_posted() -> None:
    assert list(span_event.post_span_event("flights", _SPAN, {})) == []
