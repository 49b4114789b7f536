"""HTTP clients of every kind get their answers in order, and those that exceed a limit get an error."""

from __future__ import annotations

import asyncio
import gzip
import pickle
import re
import time
import tracemalloc
import zlib
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from benison.serving.server import metrics
from benison.serving.server.codec import gzip_members
from benison.serving.server.http import Connection, HttpServer, Limits, Request, Response
from benison.serving.server.rest.api import Target, parse_target
from benison.serving.server.status import Code, RequestError, from_exception

LIMITS = Limits(max_body_bytes=100, max_connections=1, slow_seconds=5.0)


def test_a_request_error_can_be_pickled() -> None:
    copy = pickle.loads(pickle.dumps(RequestError(Code.NOT_FOUND, "no such model")))
    assert (str(copy), copy.code, copy.message) == ("no such model", Code.NOT_FOUND, "no such model")


class Transport(asyncio.Transport):
    """A transport that records what a connection writes, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def echo(request: Request) -> Response:
    if request.path == "/fail":
        raise KeyError("secret")
    return Response(200, f"{request.method} {request.path} ".encode() + request.body, "text/plain")


async def until_quiet() -> None:
    """Let the event loop run until no callback is left."""
    for _ in range(50):
        await asyncio.sleep(0)


def talk(*chunks: bytes) -> Transport:
    """Send the chunks to a new connection; return its transport once it has nothing left to do."""

    async def run() -> Transport:
        connection, transport = Connection(HttpServer(echo, LIMITS)), Transport()
        connection.connection_made(transport)
        for chunk in chunks:
            connection.data_received(chunk)
        await until_quiet()
        return transport

    return asyncio.run(run())


# Java's HttpClient sends these with each request.
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
CHUNKED = b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def get(path: str, *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def post(body: bytes, *headers: str) -> bytes:
    return (
        "\r\n".join(["POST /p HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body
    )


@pytest.mark.parametrize(
    ("chunks", "bodies"),
    [
        ([get("/a")], ["GET /a "]),
        ([get("/a?query=1")], ["GET /a "]),
        ([get("/a%20b")], ["GET /a%20b "]),
        ([get("/a") + get("/b") + post(b"c")], ["GET /a ", "GET /b ", "POST /p c"]),
        ([bytes([byte]) for byte in post(b"slow")], ["POST /p slow"]),
        (
            [b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"],
            ["POST /p abc"],
        ),
        ([post(gzip.compress(b"packed", mtime=0), "Content-Encoding: gzip")], ["POST /p packed"]),
        ([post(gzip.compress(b"two ") + gzip.compress(b"members"), "Content-Encoding: gzip")], ["POST /p two members"]),
        ([b"GET /no-host HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"], ["GET /no-host "]),
        ([get("/a", *UPGRADE) + get("/b")], ["GET /a ", "GET /b "]),
        (
            [post(b"java", *UPGRADE) + post(b"again", *UPGRADE) + get("/b")],
            ["POST /p java", "POST /p again", "GET /b "],
        ),
        ([bytes([byte]) for byte in post(b"slow", *UPGRADE) + get("/b")], ["POST /p slow", "GET /b "]),
        ([CHUNKED + b"1\r\na\r\n0\r\nContent-Encoding: gzip\r\n\r\n"], ["POST /p a"]),
        (
            [CHUNKED.replace(b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c") + b"1\r\na\r\n0\r\n\r\n"],
            ["POST /p a"],
        ),
    ],
)
def test_requests_are_answered_in_their_order(chunks, bodies):
    transport = talk(*chunks)
    answers = transport.written.decode().split("HTTP/1.1 200 OK\r\n")[1:]
    assert [answer.split("\r\n\r\n")[1] for answer in answers] == bodies
    assert not transport.closed


@pytest.mark.parametrize(
    ("chunk", "status"),
    [
        (b"no HTTP at all\r\n\r\n", 400),
        (post(b"x" * 101), 413),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413),
        (CHUNKED + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n", 413),
        (CHUNKED + b"1;" + b"extension" * 10_000, 413),
        (CHUNKED + b"0\r\nX: " + b"trailer" * 10_000, 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"without an end" * 10_000, 431),
        (b"G" * 70_000, 400),
        (post(b"x" * 101, *UPGRADE), 413),
        (get("/", "Host: y", *UPGRADE), 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (get("/", "Host: y"), 400),
        (get("/" + "x" * 70_000), 431),
        (get("/", "X: " + "y" * 70_000), 431),
        (b"POST /p HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)
def test_a_bad_or_large_request_gets_an_error_and_the_connection_closes(chunk, status):
    transport = talk(chunk)
    assert transport.written.startswith(f"HTTP/1.1 {status} ".encode())
    assert b'{"error":' in transport.written
    assert transport.closed


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"no gzip", 400), (gzip.compress(b"cut off", mtime=0)[:-4], 400)],
)
def test_a_body_that_is_not_gzip_is_refused(body, status):
    assert talk(post(body, "Content-Encoding: gzip")).written.startswith(f"HTTP/1.1 {status} ".encode())


def test_a_compressed_body_that_becomes_large_stays_as_it_is():
    for size, gzipped in ((60_000, False), (100_000, True)):
        body = gzip.compress(b"x" * size, mtime=0)
        requests: list[Request] = []

        async def handler(request: Request, requests: list[Request] = requests) -> Response:
            requests.append(request)
            return Response(200, b"")

        async def run(body: bytes = body, handler: Any = handler) -> None:
            server = HttpServer(handler, Limits(max_body_bytes=1000, max_connections=1, slow_seconds=5.0))
            connection = Connection(server)
            connection.connection_made(Transport())
            connection.data_received(post(body, "Content-Encoding: gzip"))
            await until_quiet()

        asyncio.run(run())
        assert (requests[0].gzipped, requests[0].body == body) == (gzipped, gzipped)


def test_an_internal_error_reveals_nothing():
    transport = talk(get("/fail") + get("/a"))
    assert transport.written.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in transport.written
    assert b"GET /a" in transport.written


@pytest.mark.parametrize(
    "request_",
    [
        get("/a", "Connection: close"),
        get("/a", version="1.0"),
        get("/a").replace(b"GET", b"CONNECT"),
        get("/a", *UPGRADE).replace(b"GET", b"CONNECT"),
    ],
)
def test_the_connection_closes_when_the_client_asks_for_it(request_):
    transport = talk(request_ + get("/b"))
    assert b"Connection: close" in transport.written
    assert b"/b" not in transport.written
    assert transport.closed


def test_a_large_body_is_waited_for_with_100():
    assert talk(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n").written == (
        b"HTTP/1.1 100 Continue\r\n\r\n"
    )


@pytest.mark.parametrize("begun", [b"", b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", get("/whole")])
def test_a_full_server_closes_the_client_who_has_sent_no_whole_request_for_the_longest_time(begun):
    async def run() -> list[bool]:
        server = HttpServer(echo, Limits(max_body_bytes=100, max_connections=3, slow_seconds=5.0))
        connections, transports = [Connection(server) for _ in range(4)], [Transport() for _ in range(4)]
        for number, first_words in enumerate([b"", begun, begun]):
            connections[number].connection_made(transports[number])
            connections[number].data_received(first_words)
            await until_quiet()
        connections[0].data_received(get("/a"))
        await until_quiet()
        connections[3].connection_made(transports[3])
        connections[3].data_received(get("/b"))
        await until_quiet()
        assert b"GET /b" in transports[3].written
        return [transport.closed for transport in transports]

    assert asyncio.run(run()) == [False, True, False, False]


def test_a_client_who_waits_for_an_answer_is_not_closed_for_another_one():
    async def never(request: Request) -> Response:
        await asyncio.sleep(3600)
        raise AssertionError

    async def run() -> tuple[bool, bool]:
        server, first, second = HttpServer(never, LIMITS), Transport(), Transport()
        connection = Connection(server)
        connection.connection_made(first)
        connection.data_received(get("/"))
        Connection(server).connection_made(second)
        closed = (first.closed, second.closed)
        connection.connection_lost(None)
        assert not server.waiting
        return closed

    assert asyncio.run(run()) == (False, True)


def test_small_chunks_take_no_more_memory_than_the_body():
    async def run() -> None:
        server = HttpServer(echo, Limits(max_body_bytes=1_000_000, max_connections=1, slow_seconds=5.0))
        connection, chunks = Connection(server), b"2\r\nab\r\n" * 10_000
        connection.connection_made(Transport())
        connection.data_received(CHUNKED)
        tracemalloc.start()
        for _ in range(10):
            connection.data_received(chunks)
        assert tracemalloc.get_traced_memory()[0] < 2 * 200_000
        tracemalloc.stop()
        assert server.held_bytes == 200_000

    asyncio.run(run())


@pytest.mark.parametrize("request_", [get("/a"), get("/fail"), b"no HTTP\r\n\r\n", post(b"x" * 101)])
def test_every_answer_has_a_date_and_errors_have_the_headers_of_the_api(request_):
    async def run() -> bytes:
        server, transport = HttpServer(echo, LIMITS, error_headers=(("Access-Control-Allow-Origin", "*"),)), Transport()
        connection = Connection(server)
        connection.connection_made(transport)
        connection.data_received(request_)
        await until_quiet()
        return transport.written

    written = asyncio.run(run())
    assert (b" 200 OK" in written) is not (b"\r\nAccess-Control-Allow-Origin: *\r\n" in written)
    (date,) = re.findall(rb"\r\nDate: (.*)\r\n", written)
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 60


def test_gzip_of_many_small_members_is_read_in_a_moment():
    members = gzip.compress(b"a", 0) * 50_000
    begun = time.process_time()
    assert gzip_members.decompress(members, 1 << 20) == b"a" * 50_000
    assert time.process_time() - begun < 10
    with pytest.raises(OverflowError):
        gzip_members.decompress(members, 40_000)
    for wrong in (members + b"no member", b"", members[:-1]):
        with pytest.raises(zlib.error):
            gzip_members.decompress(wrong, 1 << 20)


def test_bodies_that_are_too_large_together_are_refused():
    mb, small = b"x" * 1_000_000, b"x" * 60_000

    async def run() -> None:
        limits = Limits(max_body_bytes=2_000_000, max_connections=9, slow_seconds=5.0, max_held_bytes=1_500_000)
        server = HttpServer(echo, limits)
        connections = [Connection(server) for _ in range(4)]
        transports = [Transport() for _ in range(4)]
        for connection, transport in zip(connections, transports, strict=True):
            connection.connection_made(transport)
        connections[0].data_received(post(mb)[:-1])
        connections[1].data_received(post(mb))
        connections[2].data_received(post(small))
        connections[3].data_received(post(gzip.compress(mb), "Content-Encoding: gzip"))
        await until_quiet()
        assert [transport.written[9:12] for transport in transports] == [b"", b"503", b"200", b"200"]
        assert b"Retry-After: 1" in transports[1].written
        assert transports[1].closed
        connections[1].connection_lost(None)
        connections[0].data_received(b"x")
        await until_quiet()
        assert transports[0].written.startswith(b"HTTP/1.1 200 ")
        connections[2].data_received(post(mb))
        await until_quiet()
        assert transports[2].written.count(b"HTTP/1.1 200 ") == 2
        for connection in (connections[0], connections[2], connections[3]):
            connection.connection_lost(None)
        assert server.held_bytes == 0

    asyncio.run(run())


def test_slow_senders_and_readers_are_dropped():
    async def run() -> None:
        sender, reader, idle = (Connection(HttpServer(echo, LIMITS)) for _ in range(3))
        transports = [Transport() for _ in range(3)]
        for connection, transport in zip((sender, reader, idle), transports, strict=True):
            connection.connection_made(transport)
        sender.data_received(b"GET / HT")
        reader.pause_writing()
        now = asyncio.get_running_loop().time()
        for connection in (sender, reader, idle):
            connection.drop_if_slow(now)
            connection.drop_if_slow(now + 4)
        assert not any(transport.closed for transport in transports)
        for connection in (sender, reader, idle):
            connection.drop_if_slow(now + 6)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert transports[0].written.startswith(b"HTTP/1.1 408 ")
        assert [transport.closed for transport in transports] == [True, True, False]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/models/m:predict", Target("m", None, None, "predict")),
        ("POST", "/v1/models/m/versions/3:classify", Target("m", 3, None, "classify")),
        ("POST", "/v1/models/m/labels/s:regress", Target("m", None, "s", "regress")),
        ("POST", "/V1/MODELS/M/Versions/3:predict", Target("M", 3, None, "predict")),
        ("POST", "/v1/models/a%20b/labels/c%2Fd:predict", Target("a b", None, "c/d", "predict")),
        ("GET", "/v1/models", Target("", None, None, "status")),
        ("GET", "/v1/models/m", Target("m", None, None, "status")),
        ("GET", "/v1/models/m/versions/3/metadata", Target("m", 3, None, "metadata")),
    ],
)
def test_a_path_names_a_model(method, path, expected):
    assert parse_target(method, path) == expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/m"),
        ("POST", "/v1/models/m:Predict"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m/versions/x:predict"),
        ("POST", "/v1/models/m/versions/1/labels/a:predict"),
        ("POST", "/v1/models/a/b:predict"),
        ("POST", "/v1/models/:predict"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/m/versions/१"),
        ("PUT", "/v1/models/m:predict"),
    ],
)
def test_another_path_is_malformed(method, path):
    with pytest.raises(RequestError, match="Malformed request: "):
        parse_target(method, path)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.INVALID_ARGUMENT, 400), (Code.UNAUTHENTICATED, 401), (Code.PERMISSION_DENIED, 403), (Code.NOT_FOUND, 404),
        (Code.ABORTED, 409), (Code.RESOURCE_EXHAUSTED, 429), (Code.CANCELLED, 499), (Code.UNKNOWN, 500),
        (Code.INTERNAL, 500), (Code.DATA_LOSS, 500), (Code.UNIMPLEMENTED, 501), (Code.UNAVAILABLE, 503),
        (Code.DEADLINE_EXCEEDED, 504),
    ],
)  # fmt: skip
def test_codes_become_tf_servings_http_statuses(code, status):
    assert RequestError(code, "").http_status == status


class OpError(Exception):
    error_code = 3
    message = "first line\n\nOriginal stack trace for 'x':\n  File secret.py"


def test_tensorflows_errors_keep_their_code_and_lose_their_traceback():
    error = from_exception(OpError())
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, "first line")
    assert from_exception(ValueError("text")).code is Code.INTERNAL


def test_the_metrics_page_has_tf_servings_names():
    counted = metrics.Metrics()
    counted.count('a"b', "OK")
    counted.latency("m", "predict", "REST", 15e-6)
    page = counted.page([(":benison:x", {"model_name": "m"}, 2.0)])
    assert ':tensorflow:serving:request_count{model_name="a\\"b",status="OK"} 1\n' in page
    assert 'request_latency_bucket{model_name="m",API="predict",entrypoint="REST",le="10"} 0\n' in page
    assert 'request_latency_bucket{model_name="m",API="predict",entrypoint="REST",le="18"} 1\n' in page
    assert 'le="+Inf"} 1\n' in page
    assert 'request_latency_sum{model_name="m",API="predict",entrypoint="REST"} 15\n' in page
    assert page.endswith('# TYPE :benison:x gauge\n:benison:x{model_name="m"} 2\n')
