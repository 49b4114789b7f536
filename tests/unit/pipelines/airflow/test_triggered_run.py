"""A run on Airflow is shown like a local run; a refusal by Airflow has its message and the next step."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from benison.pipelines.airflow.api import AirflowClient, AirflowError, configured
from benison.pipelines.airflow.triggered_run import parse_value, update_node
from benison.pipelines.records.runs import NodeRun
from benison.serving.errors import UsageError

FIELDS: dict[str, dict[str, Any]] = {
    "seed": {"schema": {"type": "integer"}},
    "span": {"schema": {"type": ["string", "null"]}},
    "rate": {"schema": {"type": "number"}},
    "cache": {"schema": {"type": "boolean"}},
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "3", 3),
        ("rate", "1e-3", 0.001),
        ("cache", "false", False),
        ("span", "3", "3"),
        ("span", "2013-05", "2013-05"),
        ("span", "null", None),
        ("span", "", None),
    ],
)
def test_a_value_has_the_type_of_its_field(name: str, text: str, value: Any) -> None:
    assert parse_value(name, text, FIELDS) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sede", "3", "sede: no such field in the form; did you mean 'seed'?; it has seed, span, rate, cache"),
        ("seed", "seven", "seed: got 'seven', expected integer as in JSON"),
    ],
)
def test_what_is_no_value_of_a_field_is_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        parse_value(name, text, FIELDS)


BEGUN = "2026-01-01T00:00:00Z"


def task(state: str | None, duration: float | None = None) -> dict[str, Any]:
    return {"state": state, "start_date": BEGUN if state else None, "duration": duration}


@pytest.mark.parametrize(
    ("state", "answer", "shown", "reason"),
    [
        ("success", {"state": "cached", "outputs": {}, "reason": ""}, "cached", ""),
        ("success", {"state": "not_blessed", "reason": "too bad"}, "not_blessed", "too bad"),
        ("failed", {"state": "invalid", "reason": "a null"}, "invalid", "a null"),
        ("failed", None, "failed", "see the task's log in Airflow"),
        ("skipped", None, "skipped", ""),
        ("upstream_failed", None, "not_run", ""),
        ("up_for_retry", None, "waiting", ""),
        ("running", None, "running", ""),
        (None, None, "waiting", ""),
    ],
)
def test_a_tasks_state_is_shown_as_the_nodes(state: str | None, answer: Any, shown: str, reason: str) -> None:
    node = NodeRun("Trainer", "Trainer", "log")
    update_node(node, task(state, 2.5), lambda _: answer)
    assert (node.state, node.reason) == (shown, reason)


def test_a_task_that_is_tried_again_ends_with_its_last_attempt() -> None:
    node = NodeRun("Trainer", "Trainer", "log")
    for state in ("running", "up_for_retry", "running", "success"):
        update_node(node, task(state, 1.0), lambda _: {"state": "complete"})
    assert (node.state, node.seconds) == ("complete", 1.0)


@pytest.fixture
def answers() -> Iterator[tuple[str, dict[str, tuple[int, Any]]]]:
    """Start a server; return its URL and its answers by path."""
    known: dict[str, tuple[int, Any]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = known[self.path.partition("?")[0]]
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", known
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("code", "body", "kind", "message"),
    [
        (401, {"detail": "Invalid credentials"}, UsageError, "wrong user or password; set BENISON_AIRFLOW_USER"),
        (403, {"detail": "Forbidden"}, UsageError, "this user may not GET"),
        (404, {"detail": "no such run"}, UsageError, "no such run"),
        (422, {"detail": [{"loc": ["body", "conf"], "msg": "no object"}]}, UsageError, "body.conf: no object"),
        (500, "Internal Server Error", AirflowError, "500 Internal Server Error; see the log of Airflow's api-server"),
    ],
)
def test_a_refusal_says_what_to_do(answers: Any, code: int, body: Any, kind: type[Exception], message: str) -> None:
    url, known = answers
    known["/api/v2/dags/d/dagRuns/r"] = (code, body)
    with pytest.raises(kind, match=re.escape(message)):
        AirflowClient(url).run("d", "r")


def test_an_asset_that_no_dag_knows_is_named_with_what_to_do(answers: Any) -> None:
    url, known = answers
    known["/api/v2/assets"] = (200, {"assets": [], "total_entries": 0})
    known["/api/v2/importErrors"] = (200, {"import_errors": [], "total_entries": 0})
    with pytest.raises(AirflowError, match="no DAG knows the asset benison://x/spans; compile the pipeline"):
        AirflowClient(url).post_event("benison://x/spans")


@pytest.mark.parametrize(
    ("file", "trace", "message"),
    [
        (
            "manifests/birds.dag.py",
            "Traceback\n  …\nbenison_dags.ManifestError: pipeline birds: /m/birds.json: cut\n",
            "/m/birds.json: cut",
        ),
        (
            "benison_strays.py",
            "Traceback\nManifestError: pipeline birds: /m/birds.json: old\npipeline fish: cut\n",
            "/m/birds.json: old",
        ),
        (
            "birds.dag.py",
            "Traceback\nModuleNotFoundError: No module named 'benison_dags'\n",
            "ModuleNotFoundError: No module",
        ),
    ],
)
def test_a_pipeline_that_airflow_cannot_read_is_named_with_the_import_error(
    answers: Any, file: str, trace: str, message: str
) -> None:
    url, known = answers
    known["/api/v2/dags"] = (200, {"dags": [{"dag_id": "fish"}], "total_entries": 1})
    known["/api/v2/assets"] = (200, {"assets": [], "total_entries": 0})
    error = {"filename": file, "stack_trace": trace}
    known["/api/v2/importErrors"] = (200, {"import_errors": [error], "total_entries": 1})
    match = f"Airflow cannot use the pipeline birds: {re.escape(message)}"
    with pytest.raises(UsageError, match=match):
        AirflowClient(url).trigger("birds")
    with pytest.raises(AirflowError, match=match):
        AirflowClient(url).post_event("benison://birds/spans")
    with pytest.raises(UsageError, match="no DAG 'bird'"):
        AirflowClient(url).trigger("bird")


def test_all_pages_of_a_list_are_read(answers: Any) -> None:
    url, known = answers
    known["/api/v2/dags"] = (200, {"dags": [{"dag_id": "a"}], "total_entries": 3})
    assert len(AirflowClient(url).dags()) == 3


def test_an_airflow_that_does_not_answer_is_named() -> None:
    with pytest.raises(AirflowError, match=r"^http://127\.0\.0\.1:9: Airflow does not answer .*make airflow"):
        AirflowClient("http://127.0.0.1:9").run("d", "r")


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x"])
def test_without_an_address_the_message_names_the_variable(url: str) -> None:
    with pytest.raises(UsageError, match=r"^BENISON_AIRFLOW_URL: got .*, expected Airflow's address such as http://"):
        configured({"BENISON_AIRFLOW_URL": url})
