"""The logs are one JSON object per line, and the access log has one line per request."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import re
import sys
from typing import Any

import pytest

from benison.serving.errors import UsageError
from benison.serving.server import settings
from benison.serving.server.http import Request, Response
from benison.serving.server.observing import logs, observers
from benison.serving.server.observing.observers import ObservedRequest


def record(message: str, *arguments: Any, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("test").makeRecord("test", logging.WARNING, "f", 1, message, arguments, None, extra=extra)


def test_a_record_is_one_line_of_json_with_its_fields() -> None:
    line = logs.JsonFormatter().format(record("two\nlines of %s", "é", model="m", version=3, odd=object()))
    assert "\n" not in line
    read = json.loads(line)
    assert read["time"].endswith("Z")
    assert read.pop("time")
    assert read.pop("odd").startswith("<object")
    expected = {"level": "WARNING", "logger": "test", "message": "two\nlines of é", "model": "m", "version": 3}
    assert read == expected


def test_lines_beyond_the_queue_are_dropped_and_counted() -> None:
    reading, writing = os.pipe()
    handler = logs.QueuedHandler(writing, max_waiting=10)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(1000):  # the pipe holds 64 kB
        handler.handle(record("line %d %s", number, "x" * 1000))
    handler.flush()  # ends although nobody reads
    text = os.read(reading, 65536)
    handler.flush()
    handler.handle(record("last"))
    handler.flush()
    while not text.endswith(b"last\n"):
        text += os.read(reading, 65536)
    lines = text.decode().splitlines()
    written = sum(line.startswith("line ") for line in lines)
    notice = r"(\d+) lines were dropped, because the reader of the log did not read them"
    dropped = sum(int(match[1]) for line in lines if (match := re.fullmatch(notice, line)))
    assert written + dropped == 1000
    assert 10 <= written < 200
    os.close(reading)
    os.close(writing)


def test_an_exception_is_in_its_records_line() -> None:
    failed = record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        failed.exc_info = sys.exc_info()
    line = logs.JsonFormatter().format(failed)
    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ValueError: why")


@pytest.mark.parametrize(
    ("environment", "form", "share"),
    [
        ({}, "text", 0.0),
        ({"BENISON_LOG": "json", "BENISON_ACCESS_LOG": "0.01"}, "json", 0.01),
        ({"BENISON_LOG": "text", "BENISON_ACCESS_LOG": "1"}, "text", 1.0),
        ({"BENISON_LOG": "", "BENISON_ACCESS_LOG": ""}, "text", 0.0),
    ],
)
def test_the_environment_configures_the_logs(environment: dict[str, str], form: str, share: float) -> None:
    own = settings.read(environment)
    assert (own.log, own.access_log) == (form, share)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BENISON_LOG": "xml"}, "BENISON_LOG=xml: expected text or json"),
        ({"BENISON_ACCESS_LOG": "yes"}, "BENISON_ACCESS_LOG=yes: expected a share from 0"),
        ({"BENISON_ACCESS_LOG": "2"}, "BENISON_ACCESS_LOG=2: expected a share from 0"),
        ({"BENISON_ACCESS_LOG": "nan"}, "BENISON_ACCESS_LOG=nan: expected a share from 0"),
    ],
)
def test_a_wrong_setting_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings.read(environment)


# --- a line per request -----------------------------------------------------------------------------------------------


def answered(
    caplog: pytest.LogCaptureFixture, headers: dict[bytes, bytes], status: int = 200
) -> tuple[Response, list[dict[str, Any]]]:
    """Send a request through the access log; return the response and the logged lines."""

    async def handler(request: Request) -> Response:
        return Response(status, b"{}", headers=(("X", "y"),))

    request = Request("POST", "/v1/models/m:predict", headers, b"")
    with caplog.at_level(logging.INFO, "benison.access"):
        response = asyncio.run(observers.answer(handler, request, [logs.AccessLog(1.0)]))
    return response, [json.loads(logs.JsonFormatter().format(line)) for line in caplog.records]


def test_a_request_is_a_line_with_the_callers_id(caplog: pytest.LogCaptureFixture) -> None:
    response, (line,) = answered(caplog, {b"x-request-id": b"abc-1"}, status=404)
    assert response.headers == (("X", "y"), ("x-request-id", "abc-1"))
    assert (response.status, response.body) == (404, b"{}")
    assert line["request"] == "POST /v1/models/m:predict"
    assert (line["request_id"], line["status"], line["protocol"]) == ("abc-1", 404, "REST")
    assert line["ms"] >= 0
    assert "model" not in line  # no model ran


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a\tb", "ü".encode("latin-1")])
def test_an_id_that_is_not_safe_in_a_log_is_replaced(caplog: pytest.LogCaptureFixture, given: bytes) -> None:
    _, (line,) = answered(caplog, {b"x-request-id": given})
    assert line["request_id"] != given.decode("latin-1")
    assert len(line["request_id"]) == 16


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("abc-1:2/3", "abc-1:2/3"),
        ("x status=200 model=evil", '"x status=200 model=evil"'),
        ("x,model", '"x,model"'),
        ("Root=1-5e", '"Root=1-5e"'),
        ('a" b', r'"a\" b"'),
        ('"', r'"\""'),
    ],
)
def test_an_id_cannot_look_like_further_fields_of_its_line(
    caplog: pytest.LogCaptureFixture, given: str, shown: str
) -> None:
    response, (line,) = answered(caplog, {b"x-request-id": given.encode()})
    assert line["message"].endswith(f" ms, id {shown}")
    assert line["request_id"] == given  # a field of its own in JSON
    assert ("x-request-id", given) in response.headers


def test_only_a_share_of_the_requests_is_logged() -> None:
    random.seed(1)
    log = logs.AccessLog(0.1)
    assert 800 < sum(log.observes_next() for _ in range(10_000)) < 1200


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_request_that_is_not_observed_takes_the_inline_path(share: float) -> None:
    paths: list[str] = []

    class Inline:
        def cancel(self) -> None: ...

    def inline(request: Request, reply: Any) -> Any:
        paths.append("inline")
        return Inline()

    async def plain(request: Request) -> Response:
        paths.append("plain")
        return Response(200, b"")

    async def ask() -> None:
        replied = asyncio.Event()
        begin = observers.begin(inline, plain, [logs.AccessLog(share)])
        assert begin(Request("GET", "/", {}, b""), lambda _: replied.set())
        if share:
            await replied.wait()

    asyncio.run(ask())
    assert paths == ["plain" if share else "inline"]


def test_an_internal_error_gets_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Response:
        raise KeyError("secret")

    response = asyncio.run(observers.answer(broken, Request("GET", "/", {}, b""), [logs.AccessLog(1.0)]))
    assert response.status == 500
    assert b"secret" not in response.body
    assert "internal error" in caplog.text


def test_a_request_without_an_answer_is_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    async def gone() -> None:
        async def forever(request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

        log = logs.AccessLog(1.0)
        task = asyncio.ensure_future(observers.answer(forever, Request("GET", "/", {}, b""), [log]))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.INFO, "benison.access"):
        asyncio.run(gone())
    assert [line.__dict__["status"] for line in caplog.records] == ["gone"]


def test_the_duration_of_a_request_is_in_milliseconds() -> None:
    request = ObservedRequest("REST", "GET /", {}, "id")
    request.begun -= 2.0
    assert 2000 <= request.milliseconds < 10_000
