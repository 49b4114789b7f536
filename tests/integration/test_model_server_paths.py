"""The faster ways answer as the plain one does, to the byte, and the status page says which way is taken."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benison.serving.client import GrpcClient, ServerError
from tests.integration.model_server import Server, publish, running, write_model

PACKED = {"i": 1, "s": "a"}
TYPES = {"s": "a", "i": 1, "f": [1.0, 2.0], "b": True}

BODIES: list[Any] = [
    {"instances": [1.0, 2]},
    {"instances": [1.0]},
    {"instances": [{"x": 1.5}]},
    {"instances": []},
    {"instances": [True]},
    {"instances": ["1"]},
    {"instances": 1},
    {"inputs": {"x": [1.0, 2.0]}},
    {"instances": [1.0], "inputs": [1.0]},
    {"instances": [1.0], "signature_name": 5},
    {"instances": [1.0], "signature_name": "nothing"},
    {"instances": [1.0], "more": 1},
    {"signature_name": "types", "instances": [TYPES, {**TYPES, "i": 2**40}]},
    {"signature_name": "types", "instances": [{**TYPES, "i": 1.5}]},
    {"signature_name": "strings", "instances": [{"b64": "AP8="}, "é", ""]},
    {"signature_name": "total", "instances": [1.0, 2.0]},
    {"signature_name": "centred", "instances": [1.0, 2.0]},
    {"signature_name": "ratio", "instances": [1.0, 0.0, -1.0]},
    {"signature_name": "half", "instances": [1.0]},
    {"signature_name": "mixed", "instances": [PACKED, {"s": "b", "i": 2}]},
    {"signature_name": "mixed", "instances": [{**PACKED, "i": 2**63}]},
    {"signature_name": "mixed", "instances": [{**PACKED, "i": True}]},
    {"signature_name": "mixed", "instances": [{**PACKED, "more": 1}]},
    {"signature_name": "mixed", "instances": [{"i": 1}]},
    {"signature_name": "mixed", "instances": [{**PACKED, "s": None}]},
    {"signature_name": "mixed", "instances": [{**PACKED, "s": {"b64": "AP8="}}]},
    {"signature_name": "mixed", "instances": [PACKED] * 100},
    {"signature_name": "cut", "instances": [PACKED] * 30},
    {"signature_name": "cut", "instances": [PACKED, {"s": "bc", "i": -2}]},
]
RAW = [
    b'{"instances": [NaN, Infinity, 1e39]}',
    b'{"instances": [1.0]} and more',
    b'{"instances": [1.0',
    b"",
    b"[]",
    b'{"signature_name": "mixed", "instances": [{"i": 1, "s": "\\ud800"}]}',
    b'{"signature_name": "mixed", "instances": [{"i": 1, "i": 2, "s": "a"}]}',
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """One with the faster ways and two without, of the same model."""
    folder = tmp_path_factory.mktemp("paths")
    publish(write_model(folder / "made", 1), folder / "m", 1)
    flags = (f"--model_base_path={folder / 'm'}", "--model_name=m")
    with (
        running(folder, *flags) as fast,
        running(folder, *flags, environment={"BENISON_FAST_PATHS": "off"}) as plain,
        running(folder, *flags, environment={"BENISON_PLAIN_MODELS": "other, m"}) as named,
    ):
        yield [fast, plain, named]


def answer(server: Server, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=60)
    connection.request("POST", "/v1/models/m:predict", body)
    response = connection.getresponse()
    got = response.status, response.read()
    connection.close()
    return got


@pytest.mark.parametrize("body", [*(json.dumps(body).encode() for body in BODIES), *RAW])
def test_the_answer_is_the_same_whichever_way_is_taken(servers, body):
    fast, plain, named = (answer(server, body) for server in servers)
    assert fast == plain == named


TENSORS: list[Any] = [
    {"s": np.array([b"a", b"\xff"], object), "i": np.array([1, 2**62])},
    {"s": np.array([b"a"], object), "i": np.array([-1])},
    {"s": np.array([b"a"], object), "i": np.array([1, 2])},
    {"s": np.array([b"a"], object), "i": np.array([1.0])},
    {"s": np.array([b"a"], object)},
    {"s": np.array([b"a"], object), "i": np.array([1]), "more": np.array([1])},
    {"s": np.array([], object), "i": np.array([], np.int64)},
    {"s": np.array([b"a"] * 100, object), "i": np.arange(100)},
    {"s": np.array(b"a", object), "i": np.array(1)},
]


@pytest.mark.parametrize("signature", ["mixed", "cut"])
@pytest.mark.parametrize("inputs", TENSORS)
def test_the_answer_over_grpc_is_the_same_whichever_way_is_taken(servers, inputs, signature):
    async def answer(server: Server, outputs: list[str]) -> Any:
        async with GrpcClient(f"127.0.0.1:{server.port}") as client:
            try:
                by_name = await client.predict("m", inputs, signature=signature, outputs=outputs)
            except ServerError as error:
                return str(error)
        return {name: (values.dtype, values.tolist()) for name, values in by_name.items()}

    for outputs in ([], ["i"], ["unknown"]):
        fast, plain, named = (asyncio.run(answer(server, outputs)) for server in servers)
        assert fast == plain == named


@pytest.mark.parametrize("text", [object, bytes, str])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_client_sends_arrays_of_any_memory_layout_and_byte_order(servers, text, order):
    inputs = {
        "s": np.array([b"a", b"b"], object) if text is object else np.array(["a", "b"]).astype(text),
        "i": np.array([2**40, -1], f"{order}i8")[::-1],
        "f": np.array([[1, 2], [3, 4.5]], f"{order}f4", order="F"),
        "b": np.array([True, False]),
    }

    async def answer() -> Any:
        async with GrpcClient(f"127.0.0.1:{servers[0].port}") as client:
            return await client.predict("m", inputs, signature="types", outputs=["text", "i", "f", "not"])

    assert {name: values.tolist() for name, values in asyncio.run(answer()).items()} == {
        "text": [b"a", b"b"],
        "i": [0, 2**40 + 1],
        "f": [[2, 4], [6, 9]],
        "not": [False, True],
    }


def paths(server: Server) -> dict[str, Any]:
    code, status = server.ask("GET", "/benison/status")
    assert code == 200
    return dict(status["models"]["m"]["versions"]["1"]["paths"])


def test_the_status_page_says_which_way_each_signature_goes(servers):
    fast, *plain = servers
    ways = paths(fast)
    assert ways["mixed"]["inputs"] == ways["cut"]["inputs"] == "packed"
    for way in (ways["mixed"], ways["cut"], ways["serving_default"]):
        # On a busy machine a run may take too long, and the next ones are in a thread.
        assert way["runs"] == "inline" or "moved_off_the_loop" in way
    assert ways["slow"] == {
        "inputs": "plain",
        "runs": "thread",
        "because": ["not inline: StatelessWhile may take any time"],
    }
    assert [paths(server) for server in plain] == [{}, {}]


def test_pipelined_requests_are_answered_in_their_order_whichever_way_each_takes(servers):
    def request(body: dict[str, Any], more: bytes = b"") -> bytes:
        data = json.dumps(body).encode()
        return b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d\r\n\r\n%b" % (
            more,
            len(data),
            data,
        )

    slow = {"signature_name": "slow", "instances": [1000]}
    bodies: list[dict[str, Any]] = [{"instances": [1.0]}, slow, {"instances": [2.0]}, {"instances": "wrong"}]
    last = request({"instances": [3.0]}, b"Connection: close\r\n")
    with socket.create_connection(("127.0.0.1", servers[0].rest), timeout=60) as connection:
        connection.sendall(b"".join(map(request, bodies)) + last)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    got = [json.loads(part.split(b"\r\n\r\n")[1]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert [one.get("predictions") for one in got] == [[1.5], [1000.0], [2.0], None, [2.5]]


def test_a_request_that_runs_on_the_loop_is_counted(tmp_path, made):
    publish(made[1], tmp_path / "m", 1)
    (tmp_path / "monitoring").write_text("prometheus_config { enable: true }")
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m")
    with running(tmp_path, *flags, f"--monitoring_config_file={tmp_path / 'monitoring'}") as server:
        for _ in range(3):
            assert server.post("m:predict", {"instances": [1.0]}) == (200, {"predictions": [1.5]})
        connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=60)
        connection.request("GET", "/monitoring/prometheus/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"} 3' in page
    assert 'request_latency_count{model_name="m",API="predict",entrypoint="REST"} 3' in page
