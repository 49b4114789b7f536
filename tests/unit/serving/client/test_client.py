"""The REST client against small servers on loopback: chunked answers, TLS, a prefix, a proxy, connections that close."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from benison.serving.client import GrpcClient, RestClient, ServerError, VersionStatus
from benison.serving.errors import UsageError

Reply = Callable[[str, bytes], bytes]

HOST = "models.test"  # no name server knows it: only a proxy reaches it


def _plain(body: str, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def _chunked(*parts: str) -> bytes:
    chunks = "".join(f"{len(part.encode()):x}\r\n{part}\r\n" for part in parts)
    return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n".encode()


class Recorder:
    """A server that answers every request by `reply` and records request lines, bodies and connections."""

    def __init__(self, reply: Reply | bytes, *, requests_per_connection: int = 1000) -> None:
        self.reply = (lambda line, body: reply) if isinstance(reply, bytes) else reply
        self.requests_per_connection = requests_per_connection
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for _ in range(self.requests_per_connection):
            line, body = await _read_request(reader)
            self.requests.append(line)
            self.bodies.append(body)
            writer.write(self.reply(line, body))
            await writer.drain()


class Proxy:
    """An HTTP proxy: it forwards every request to one port, and tunnels CONNECT to it."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.requests: list[str] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.split(b"\r\n", 1)[0].decode()
        self.requests.append(line)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            server_writer.write(head)
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
    return head.split("\r\n", 1)[0], await reader.readexactly(int(lengths[0]) if lengths else 0)


@asynccontextmanager
async def _listening(server: Recorder | Proxy, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[Any]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await server.handle(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", HOST).configure_cert(context)
    return context


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", [_plain('{"predictions": [1.5]}'), _chunked('{"predi', 'ctions": [', "1.5]}")], ids=["plain", "chunked"]
)
def test_an_answer_of_known_length_and_a_chunked_one_are_read(reply: bytes) -> None:
    async def test() -> None:
        server = Recorder(reply)
        async with _listening(server), RestClient(port=server.port) as client:
            for _ in range(3):
                assert await client.predict("m", instances=[1.0]) == [1.5]
        assert server.connections == 1
        assert server.requests == ["POST /v1/models/m:predict HTTP/1.1"] * 3
        assert server.bodies[0] == b'{"instances": [1.0]}'

    _run(test())


def test_nan_and_infinity_pass_in_both_directions() -> None:
    async def test() -> None:
        server = Recorder(_plain('{"outputs": [NaN, Infinity, -Infinity]}'))
        async with _listening(server), RestClient(port=server.port) as client:
            values = await client.predict("m", inputs=[math.nan, math.inf], signature="raw", label="a b")
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, -math.inf]
        assert server.bodies == [b'{"inputs": [NaN, Infinity], "signature_name": "raw"}']
        assert server.requests == ["POST /v1/models/m/labels/a%20b:predict HTTP/1.1"]

    _run(test())


def test_status_and_metadata_are_read() -> None:
    status = (
        '{"model_version_status": [{"version": "3", "state": "END", '
        '"status": {"error_code": "NOT_FOUND", "error_message": "gone"}}]}'
    )
    metadata = '{"metadata": {"signature_def": {"signature_def": {"raw": {}}}}}'

    async def test() -> None:
        server = Recorder(lambda line, body: _plain(metadata if "metadata" in line else status))
        async with _listening(server), RestClient(port=server.port) as client:
            assert await client.status("m", 3) == [VersionStatus(3, "END", "NOT_FOUND", "gone")]
            assert await client.metadata("a/b", label="stable") == {"raw": {}}
        assert [line.split()[1] for line in server.requests] == [
            "/v1/models/m/versions/3", "/v1/models/a%2Fb/labels/stable/metadata",
        ]  # fmt: skip

    _run(test())


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (_plain('{"error": "no such model"}', "404 Not Found"), "^HTTP 404: no such model$"),
        (_plain("<h1>Bad gateway</h1>", "502 Bad Gateway"), "^HTTP 502: <h1>Bad gateway</h1>$"),
        (_plain("[1]", "500 Broken"), r"^HTTP 500: \[1\]$"),
        (_plain('{"error": null}', "500 Broken"), r'^HTTP 500: {"error": null}$'),
        (_plain('{"error": {"a": 1}}', "500 Broken"), r'^HTTP 500: {"error": {"a": 1}}$'),
        (_plain("", "204 No Content"), "^HTTP 204: No Content$"),
        (_plain("", "301 Moved", "Location: https://a.test/"), "^HTTP 301: Moved: https://a.test/$"),
        (_plain("no JSON"), "^UNKNOWN: http://127.0.0.1:[0-9]+/v1/models/m:predict: not an answer .*: no JSON$"),
        (_plain(""), "^UNKNOWN: http://127.0.0.1:.*: nothing$"),
        (_plain('{"a":1}'), '^UNKNOWN: http://127.0.0.1:.*: {"a":1}$'),
        (_plain("[]"), r"^UNKNOWN: http://127.0.0.1:.*: \[\]$"),
        (_plain("[" * 100_000), r"^UNKNOWN: http://127.0.0.1:.*: \[\["),
        (b"", "^UNAVAILABLE: http://127.0.0.1:.*disconnected"),
    ],
    ids=[
        "json error",
        "a proxy's page",
        "json that is no object",
        "null error",
        "object as error",
        "no content",
        "redirect",
        "not JSON",
        "empty",
        "other object",
        "list",
        "deep",
        "no answer",
    ],
)
def test_a_refusal_and_a_broken_answer_are_server_errors(reply: bytes, message: str) -> None:
    async def test() -> None:
        server = Recorder(reply, requests_per_connection=1)
        async with _listening(server), RestClient(port=server.port) as client:
            with pytest.raises(ServerError, match=message):
                await client.predict("m", instances=[1.0])

    _run(test())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_nobody_listens_on_is_unavailable(host: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    async def test() -> None:
        async with RestClient(host, port) as client:
            with pytest.raises(ServerError, match=f"^UNAVAILABLE: http://{host}:{port}: .*[Cc]onnect") as failure:
                await client.status("m")
            assert failure.value.code == "UNAVAILABLE"

    _run(test())


def test_a_name_that_no_name_server_takes_is_unavailable() -> None:
    async def test() -> None:
        async with RestClient("a" * 70) as client:
            with pytest.raises(ServerError, match=r"^UNAVAILABLE: http://aaa"):
                await client.status("m")

    _run(test())


def test_the_timeout_is_for_the_whole_request() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:  # each step alone is quick
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def test() -> None:
        server = Recorder(b"")
        server.handle = drip  # type: ignore[method-assign]
        async with _listening(server), RestClient(port=server.port, timeout=0.5) as client:
            with pytest.raises(ServerError, match=r"^DEADLINE_EXCEEDED: no answer within 0.5 s$"):
                await client.status("m")

    _run(test())


# --- Connections ------------------------------------------------------------------------------------------------------


def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    async def test() -> None:
        server = Recorder(_plain('{"predictions": [1]}'), requests_per_connection=1)
        async with _listening(server), RestClient(port=server.port) as client:
            for _ in range(3):
                assert await client.predict("m", instances=[1]) == [1]
        assert server.connections == 3

    _run(test())


@pytest.mark.parametrize(
    "reply", ["{}", "[]", "null", '{"model_version_status": [{}]}', '{"metadata": {"signature_def": 1}}']
)
def test_status_and_metadata_of_another_api_are_server_errors(reply: str) -> None:
    async def test() -> None:
        async with _listening(server := Recorder(_plain(reply))), RestClient(port=server.port) as client:
            for request in (client.status("m"), client.metadata("m")):
                with pytest.raises(
                    ServerError, match=r"^UNKNOWN: .*/v1/models/m.*: not an answer of TF Serving's API: "
                ):
                    await request

    _run(test())


def test_an_error_can_be_pickled() -> None:
    error = ServerError("NOT_FOUND", "no such model")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.code, copy.message) == (str(error), "NOT_FOUND", "no such model")
    assert str(error) == "NOT_FOUND: no such model"


# --- Arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"port": 99999}, "port"), ({"port": "abc"}, "port"), ({"port": 0}, "port"), ({"port": True}, "port"),
        ({"host": "http://localhost"}, "host"), ({"host": "localhost:8501"}, "host"), ({"host": ""}, "host"),
        ({"host": "a b"}, "host"), ({"host": None}, "host"),
        ({"timeout": 0}, "timeout"), ({"timeout": "1"}, "timeout"), ({"timeout": math.nan}, "timeout"),
        ({"verify": None}, "verify"), ({"verify": "/nope.pem"}, "verify: /nope.pem"), ({"verify": ""}, "verify"),
        ({"verify": Path(__file__)}, "verify: .*test_client.py"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=f"^{name}: "):
        RestClient(**arguments)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_have_brackets(host: str) -> None:
    async def test() -> None:
        async with RestClient(host, 1) as client:
            with pytest.raises(ServerError, match=r"^UNAVAILABLE: http://\[::1\]:1: "):
                await client.status("m")

    _run(test())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "^got neither of instances and inputs"),
        ({"instances": [1], "inputs": [1]}, "^got both of instances and inputs"),
        ({"instances": [object()]}, "^instances, inputs: cannot be written as JSON: got a object"),
        ({"instances": [1], "version": "1"}, "^version: got '1'"),
        ({"instances": [1], "label": 1}, "^label: got 1"),
        ({"instances": [1], "label": "stable", "version": 1}, "^got both of version and label"),
        ({"instances": [1], "model": None}, "^model: got None"),
    ],
)
def test_a_wrong_request_is_not_sent(arguments: dict[str, Any], message: str) -> None:
    async def test() -> None:
        async with RestClient(port=1) as client:
            with pytest.raises(UsageError, match=message):
                await client.predict(**{"model": "m", **arguments})

    _run(test())


def test_numpy_and_bytes_are_written_as_json() -> None:
    async def test() -> None:
        async with (
            _listening(server := Recorder(_plain('{"predictions": [1]}'))),
            RestClient(port=server.port) as client,
        ):
            row = {"a": np.float32(0.5), "b": np.int64(2), "c": np.array([[1.5, 2]]), "d": np.array(["x"]), "e": b"ab"}
            await client.predict("m", instances=[row], version=3)
            await client.predict("m", instances=np.array([[1, 2]], np.int32))
        assert [json.loads(body)["instances"] for body in server.bodies] == [
            [{"a": 0.5, "b": 2, "c": [[1.5, 2.0]], "d": ["x"], "e": {"b64": "YWI="}}],
            [[1, 2]],
        ]
        assert "/versions/3:" in server.requests[0]

    _run(test())


# --- Closing and event loops ------------------------------------------------------------------------------------------


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read everything and never answer."""
    while await reader.read(65536):
        pass


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_closed_client_is_refused(protocol: str) -> None:
    async def test() -> None:
        client = RestClient(port=1) if protocol == "rest" else GrpcClient("127.0.0.1:1")
        async with client:
            pass
        await client.close()
        with pytest.raises(UsageError, match=r"^the client is closed"):
            await client.status("m")

    _run(test())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_request_that_runs_when_the_client_is_closed_fails(protocol: str) -> None:
    async def test() -> None:
        server = Recorder(b"")
        server.handle = _silent  # type: ignore[method-assign]
        async with _listening(server):
            client = RestClient(port=server.port) if protocol == "rest" else GrpcClient(f"127.0.0.1:{server.port}")
            request = asyncio.create_task(client.status("m"))
            await asyncio.sleep(0.3)
            await client.close()
            with pytest.raises(ServerError, match=r"the client was closed$"):
                await asyncio.wait_for(request, 10)

    _run(test())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_client_may_be_used_in_one_event_loop_after_another(protocol: str) -> None:
    client = RestClient(port=1) if protocol == "rest" else GrpcClient("127.0.0.1:1")

    async def test() -> None:
        with pytest.raises(ServerError, match=r"^UNAVAILABLE: "):
            await client.status("m")

    for _ in range(2):
        _run(test())
    _run(client.close())


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_client_is_refused_in_two_event_loops_at_a_time(protocol: str) -> None:
    client = RestClient(port=1) if protocol == "rest" else GrpcClient("127.0.0.1:1")

    async def test() -> None:
        with pytest.raises(ServerError):
            await client.status("m")
        with pytest.raises(UsageError, match=r"^another event loop uses the client"):
            await asyncio.to_thread(lambda: asyncio.run(client.status("m")))
        await client.close()

    _run(test())


@pytest.mark.parametrize("target", [None, "", 8500])
def test_a_wrong_target_of_grpc_is_named(target: Any) -> None:
    with pytest.raises(UsageError, match=r"^target: got "):
        GrpcClient(target)


def test_an_input_that_is_no_tensor_is_named() -> None:
    async def test() -> None:
        async with GrpcClient("127.0.0.1:1") as client:
            with pytest.raises(UsageError, match=r"^inputs: a: not a tensor: "):
                await client.predict("m", {"a": object()})

    _run(test())


def test_requests_may_run_at_the_same_time() -> None:
    async def test() -> None:
        server = Recorder(lambda line, body: _plain(f'{{"predictions": {body.decode().split(": ")[1]}'))
        async with _listening(server), RestClient(port=server.port) as client:
            answers = await asyncio.gather(*(client.predict("m", instances=[row]) for row in range(150)))
        assert answers == [[row] for row in range(150)]

    _run(test())


# --- Base URL, TLS, proxies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/", "/team/models", "/team/models/"])
def test_a_base_url_may_have_a_prefix(prefix: str) -> None:
    async def test() -> None:
        server = Recorder(_plain('{"predictions": [1]}'))
        async with _listening(server), RestClient(url=f"http://127.0.0.1:{server.port}{prefix}") as client:
            await client.predict("m", instances=[1])
        assert server.requests[0].split()[1] == f"{prefix.rstrip('/')}/v1/models/m:predict"

    _run(test())


@pytest.mark.parametrize(
    "url",
    [
        "models:8501",
        "ftp://models",
        "http://",
        "https://models/?x=1",
        "",
        "http://[::1",
        "http://a:99999",
        "http://a:b",
        1,
    ],
)
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"expected http://HOST\[:PORT\]"):
        RestClient(url=url)


def test_tls_is_verified_by_the_authorities_given(
    server_tls: ssl.SSLContext, authority: trustme.CA, authority_file: Path
) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def test() -> None:
        server = Recorder(_chunked('{"predictions": [2]}'))
        async with _listening(server, server_tls):
            url = f"https://127.0.0.1:{server.port}/prefix"
            for verify in (authority_file, str(authority_file), trusting, False):
                async with RestClient(url=url, verify=verify) as client:
                    assert await client.predict("m", instances=[1]) == [2]
            async with RestClient(url=url) as client:
                with pytest.raises(ServerError, match=r"^UNAVAILABLE: https://.*CERTIFICATE_VERIFY_FAILED"):
                    await client.predict("m", instances=[1])
        assert server.requests == ["POST /prefix/v1/models/m:predict HTTP/1.1"] * 4

    _run(test())


def test_a_proxy_forwards_http(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        server = Recorder(_plain('{"predictions": [3]}'))
        async with _listening(server), _listening(proxy := Proxy(server.port)):
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with RestClient(HOST, 8501) as client:
                assert await client.predict("m", instances=[1]) == [3]
        assert proxy.requests == [f"POST http://{HOST}:8501/v1/models/m:predict HTTP/1.1"]

    _run(test())


def test_a_proxy_tunnels_https(
    monkeypatch: pytest.MonkeyPatch, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    async def test() -> None:
        server = Recorder(_plain('{"predictions": [4]}'))
        async with _listening(server, server_tls), _listening(proxy := Proxy(server.port)):
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
            async with RestClient(url=f"https://{HOST}/prefix", verify=authority_file) as client:
                assert await client.predict("m", instances=[1]) == [4]
        assert proxy.requests == [f"CONNECT {HOST}:443 HTTP/1.1"]
        assert server.requests == ["POST /prefix/v1/models/m:predict HTTP/1.1"]

    _run(test())


@pytest.mark.parametrize(
    ("variable", "value"), [("ALL_PROXY", "socks5://127.0.0.1:1"), ("HTTP_PROXY", "ftp://a"), ("NO_PROXY", "[::1")]
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)

    async def test() -> None:
        async with RestClient(HOST) as client:
            with pytest.raises(UsageError, match=f"^{variable}: cannot be used as prox"):
                await client.status("m")
        async with (
            _listening(server := Recorder(_plain('{"predictions": [5]}'))),
            RestClient(port=server.port) as client,
        ):
            assert await client.predict("m", instances=[1]) == [5]

    _run(test())


def test_authorities_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/nope.pem")

    async def test() -> None:
        async with RestClient(HOST) as client:
            with pytest.raises(UsageError, match=r"^SSL_CERT_FILE: cannot be used: "):
                await client.status("m")

    _run(test())


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_asked_directly(monkeypatch: pytest.MonkeyPatch, host: str, variable: str) -> None:
    async def test() -> None:
        server = Recorder(_plain('{"predictions": [5]}'))
        async with _listening(server), _listening(proxy := Proxy(server.port)):
            monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
            async with RestClient(host, server.port) as client:
                assert await client.predict("m", instances=[1]) == [5]
        assert proxy.requests == []

    _run(test())


def test_no_proxy_names_hosts_that_are_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with _listening(proxy := Proxy(1)):
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("NO_PROXY", HOST)
            async with RestClient(HOST, 8501) as client:
                with pytest.raises(ServerError, match=r"^UNAVAILABLE: http://models\.test:8501: "):
                    await client.status("m")
        assert proxy.requests == []

    _run(test())


def test_the_module_imports_no_http_library() -> None:
    code = "import sys; from benison.serving import client; sys.exit(bool({'httpx', 'grpc'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
