"""No request of one client stops the server for the others, or leaves its memory filled."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.integration.model_server import Server, predict_request, publish, running, wait_until

MB = 1_000_000
LIMIT = 128 << 20  # bytes of the largest body, the default
QUICK = 0.5  # seconds in which a tiny request is answered on a busy machine; the soak tests have the real goal
GOAL = 0.05


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("one_client")
    publish(made[1], folder / "m", 1)
    flags = (f"--model_base_path={folder / 'm'}", "--model_name=m", "--enable_grpc_healthcheck_service")
    with running(folder, *flags) as it:
        yield it


def memory(server: Server) -> float:
    """Return the resident memory of the server and its processes (MB)."""
    pids = [str(server.process.pid)]
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            pids += (task / "children").read_text().split()
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


class Watched:
    """The latencies of tiny requests, and the most memory, while a block runs."""

    def __init__(self, server: Server) -> None:
        self.latencies: list[float] = []
        self.memory = 0.0
        self._server = server
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=[ask]) for ask in (self._rest, self._grpc)]

    def __enter__(self) -> Watched:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def share(self, quantile: float) -> float:
        return float(np.quantile(self.latencies, quantile))

    def _watch(self, connect: Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]) -> None:
        with connect() as ask:
            ask()
            while not self._over.is_set():
                begun = time.monotonic()
                ask()
                self.latencies.append(time.monotonic() - begun)
                self.memory = max(self.memory, memory(self._server))
                time.sleep(0.005)

    @contextlib.contextmanager
    def _rest(self) -> Iterator[Callable[[], None]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.rest, timeout=60)

        def ask() -> None:
            connection.request("POST", "/v1/models/m:predict", b'{"instances":[1.0]}')
            assert connection.getresponse().read() == b'{"predictions":[1.5]}'

        with contextlib.closing(connection):
            yield ask

    @contextlib.contextmanager
    def _grpc(self) -> Iterator[Callable[[], None]]:
        with self._server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_request({"x": np.ones(1, np.float32)})
            yield lambda: stub.Predict(request, timeout=60) and None


def ask(server: Server, body: bytes, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=120)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/v1/models/m:predict", body, headers)
            response = connection.getresponse()
        except (ConnectionResetError, BrokenPipeError):
            return 0
        response.read()
        return response.status


def predict(server: Server, inputs: dict[str, Any]) -> Any:
    """Return y, or the code of the error."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.max_receive_message_length", -1)]) as channel:
        try:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            return stub.Predict(predict_request(inputs), timeout=120).outputs["y"]
        except grpc.RpcError as error:
            refused: Any = error
            return refused.code()


def rows(piece: bytes, size: int) -> bytes:
    return b'{"instances":[' + b",".join([piece] * (size // (len(piece) + 1))) + b"]}"


GZIP = {"Content-Encoding": "gzip"}
ATTACKS: dict[str, tuple[bytes, dict[str, str], set[int]]] = {
    "escaped quotes": (b'{"instances":["' + b'\\"' * 32_000, {}, {400}),
    "brackets": (b"[" * 195_000, {}, {400}),
    "objects": (rows(b"{}", 25 * MB), {}, {413}),
    "lists": (rows(b"[]", 25 * MB), {}, {413}),
    "numbers": (rows(b"0.5", 8 * MB), {}, {200}),
    "small rows": (rows(b"{}", 60_000), {}, {400}),
    "a bomb": (gzip.compress(rows(b"{}", 30 * MB)), GZIP, {413}),
    "a larger bomb": (gzip.compress(bytes(200 * MB)), GZIP, {413}),
    "many members": (gzip.compress(b"") * 100_000, GZIP, {400}),
    "too large": (bytes(LIMIT + 1), {}, {413, 0}),
}


def attack(server: Server, count: int) -> None:
    """Send each of the bodies `count` times at once."""
    codes: dict[str, set[int]] = {name: set() for name in ATTACKS}

    def send(name: str, body: bytes, headers: dict[str, str]) -> None:
        codes[name].add(ask(server, body, **headers))

    for name, (body, headers, expected) in ATTACKS.items():
        threads = [threading.Thread(target=send, args=[name, body, headers]) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes[name] <= expected, name


@pytest.mark.parametrize(
    ("count", "quantile", "seconds"),
    [(1, 0.9, QUICK), pytest.param(8, 0.99, GOAL, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_large_bodies_and_bombs_leave_the_others_their_answers(
    server: Server, count: int, quantile: float, seconds: float
) -> None:
    with Watched(server) as quiet:
        time.sleep(2)
    with Watched(server) as watched:
        attack(server, count)
    print(f"p50 {watched.share(0.5):.4f} s, p99 {watched.share(0.99):.4f} s, most {max(watched.latencies):.3f} s")
    print(f"{quiet.memory:.0f} MB before, at most {watched.memory:.0f} MB, now {memory(server):.0f} MB")
    assert watched.share(quantile) < seconds
    if count > 1:
        assert watched.memory <= quiet.memory + 4 * LIMIT / MB
        wait_until(lambda: memory(server) <= 1.1 * quiet.memory, 60)


@pytest.mark.parametrize("size", [20 * MB, pytest.param(100 * MB, marks=pytest.mark.soak)])
def test_a_large_tensor_leaves_the_others_their_answers(server: Server, size: int) -> None:
    numbers = np.arange(size // 4, dtype=np.float32)
    with Watched(server) as watched:
        for _ in range(3):
            y = predict(server, {"x": numbers})
            assert np.array_equal(np.array(y.float_val, np.float32), numbers / 2 + np.float32(0.5 + 0.5))
            assert [dim.size for dim in y.tensor_shape.dim] == [size // 4]
    print(f"p50 {watched.share(0.5):.4f} s, p99 {watched.share(0.99):.4f} s, most {max(watched.latencies):.3f} s")
    assert watched.share(0.9) < QUICK


@pytest.mark.parametrize(("size", "count"), [(50 * MB, 6), pytest.param(100 * MB, 8, marks=pytest.mark.soak)])
def test_large_tensors_that_come_together_take_turns(server: Server, size: int, count: int) -> None:
    numbers = np.ones(size // 4, np.float32)
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(predict(server, {"x": numbers}))) for _ in range(count)]
    before = memory(server)
    with Watched(server) as watched:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(f"{before:.0f} MB before, at most {watched.memory:.0f} MB")
    refused = [answer for answer in answers if answer == grpc.StatusCode.UNAVAILABLE]
    assert len(answers) == count
    assert 0 < len(answers) - len(refused) <= count
    assert all(len(answer.float_val) == size // 4 for answer in answers if answer not in refused)
    # gRPC itself receives all of them at the same time.
    assert watched.memory <= before + count * size / MB + 4 * LIMIT / MB
    wait_until(lambda: memory(server) <= 1.1 * before, 60)


def test_refused_bodies_are_dropped_at_once(server: Server) -> None:
    before = server.memory()
    for _ in range(5):
        assert ask(server, rows(b"{}", 20 * MB)) == 413
        assert predict(server, {"wrong": np.ones(5 * MB, np.float32)}) == grpc.StatusCode.INVALID_ARGUMENT
    wait_until(lambda: server.memory() <= before + 3 * 20, 30)  # not the 200 MB that were sent


def test_java_is_answered(server: Server) -> None:
    head = "POST /v1/models/m:predict HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: localhost\r\nUpgrade: h2c\r\n"
    with socket.create_connection(("127.0.0.1", server.rest), 60) as client:
        client.sendall(f"{head}HTTP2-Settings: AAEA\r\nContent-Length: 19\r\n\r\n".encode())
        time.sleep(0.05)
        client.sendall(b'{"instances":[1.0]}')
        assert client.recv(1000).endswith(b'{"predictions":[1.5]}')


@pytest.mark.parametrize(("count", "seconds"), [(300, QUICK), pytest.param(9_000, GOAL, marks=pytest.mark.soak)])
def test_idle_connections_leave_the_others_their_answers(server: Server, count: int, seconds: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 2 * count + 500:
        pytest.skip(f"this system allows {hard} open files")
    with Watched(server) as watched, contextlib.ExitStack() as stack:
        for port in (server.rest, server.port):
            for _ in range(count):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 60))
        time.sleep(1)
    print(f"p99 {watched.share(0.99):.4f} s, most {max(watched.latencies):.3f} s, {watched.memory:.0f} MB")
    assert watched.share(0.9 if count < 1000 else 0.99) < seconds
