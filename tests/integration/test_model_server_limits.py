"""The server refuses what is over its limits, drops slow clients and ends cleanly."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    prediction_service_pb2_grpc,
)

from benison.serving.client import ServerError
from tests.integration.model_server import (
    Server,
    calibrated,
    config,
    entry,
    predict_request,
    publish,
    reload,
    running,
    start,
    tls,
    wait_until,
    write_certificates,
)

np_any: Any = np  # numpy's stubs take a scalar's class for no maker of arrays


def test_a_full_queue_answers_503_and_sigterm_finishes_what_was_accepted(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    environment = {"BENISON_MAX_QUEUE": "4", "BENISON_MAX_BODY_BYTES": "100000", "BENISON_SLOW_CLIENT_SECONDS": "1"}
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m", "--rest_api_timeout_in_ms=60000")
    with running(tmp_path, *flags, environment=environment) as server:
        loops = calibrated(server)
        answers: list[tuple[int, Any]] = []
        ask = {"signature_name": "slow", "inputs": [loops]}
        threads = [threading.Thread(target=lambda: answers.append(server.post("m:predict", ask))) for _ in range(12)]
        for thread in threads:
            thread.start()
        wait_until(lambda: any(code == 503 for code, _ in answers))
        refused = next(answer for code, answer in answers if code == 503)
        assert "is full" in refused["error"]
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(f"http://127.0.0.1:{server.rest}/v1/models/m:predict", json.dumps(ask).encode())
        with error.value:
            assert (error.value.code, error.value.headers["Retry-After"]) == (503, "1")
        with server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            request = predict_request({"loops": np.array([loops])}, "slow")
            calls = [stub.Predict.future(request, timeout=30) for _ in range(12)]
            codes = {call.code().name for call in calls}
        assert "UNAVAILABLE" in codes
        assert codes <= {"UNAVAILABLE", "OK"}
        too_large = {"instances": [0.0] * 60_000}
        assert server.post("m:predict", too_large)[0] == 413
        with socket.create_connection(("127.0.0.1", server.rest)) as slow:
            slow.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\n")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")

        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(30) == 0
        assert {code for code, _ in answers} == {200, 503}
        with pytest.raises(OSError, match="refused"):
            server.ask("GET", "/v1/models/m")


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server with a short timeout, batches of 4 at most, and mutual TLS."""
    folder = tmp_path_factory.mktemp("strict")
    publish(made[1], folder / "m", 1)
    (folder / "batching").write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 1000 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
    )
    write_certificates(folder)
    (folder / "ssl").write_text(tls(folder, client_verify=True))
    with running(
        folder,
        f"--model_base_path={folder / 'm'}",
        "--model_name=m",
        "--rest_api_timeout_in_ms=400",
        "--enable_batching",
        f"--batching_parameters_file={folder / 'batching'}",
        f"--ssl_config_file={folder / 'ssl'}",
        "--rest_api_enable_cors_support",
    ) as server:
        yield server


def test_a_deadline_is_kept(strict: Server) -> None:
    loops, code = 1000, 200
    while code == 200:
        loops *= 2
        code, answer = strict.post("m:predict", {"signature_name": "slow", "inputs": [loops]})
    assert (code, answer) == (504, {"error": "Timed out"})
    wait_until(lambda: strict.post("m:predict", {"instances": [0.0]})[0] == 200)


def test_the_sizes_of_a_batching_parameters_file_are_kept(strict: Server) -> None:
    code, answer = strict.post("m:predict", {"instances": [0.0] * 5})
    assert (code, answer["error"]) == (400, "Task size 5 is larger than maximum input batch size 4")
    assert strict.post("m:predict", {"instances": [0.0] * 3}) == (200, {"predictions": [1.0] * 3})


def test_mutual_tls_admits_only_who_shows_a_certificate(strict: Server) -> None:
    folder = strict.log.parent
    read = {name: (folder / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem")}
    known = grpc.ssl_channel_credentials(read["ca.pem"], read["client.key"], read["client.pem"])
    unknown = grpc.ssl_channel_credentials(read["ca.pem"])
    for credentials, welcome in ((known, True), (unknown, False)):
        with grpc.secure_channel(f"127.0.0.1:{strict.port}", credentials) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            if welcome:
                assert stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30).outputs["y"].float_val == [
                    1.5
                ]
            else:
                with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
                    stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30)


def test_browsers_of_other_origins_may_ask_where_cors_is_on(strict: Server) -> None:
    url = f"http://127.0.0.1:{strict.rest}/v1/models/m:predict"
    request = urllib.request.Request(url, method="OPTIONS", headers={"Origin": "http://there"})
    with urllib.request.urlopen(request, timeout=30) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"


# --- callers who go, or dawdle -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strained(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server that has little patience and takes few connections and small messages; reachable from elsewhere."""
    folder = tmp_path_factory.mktemp("strained")
    publish(made[1], folder / "m", 1)
    environment = {
        "BENISON_SLOW_CLIENT_SECONDS": "1",
        "BENISON_MAX_CONNECTIONS": "8",
        "BENISON_MAX_BODY_BYTES": "2000000",
        "BENISON_BIND": "0.0.0.0",
    }
    with running(folder, f"--model_base_path={folder / 'm'}", "--model_name=m", environment=environment) as server:
        yield server


def count(server: Server, name: str) -> int:
    """Return a number of version 1: `runs` that ended, `running` ones, or requests that are `waiting`."""
    return int(server.ask("GET", "/benison/status")[1]["models"]["m"]["versions"]["1"][name])


def waiting(server: Server) -> int:
    """Requests in version 1's queue."""
    return count(server, "waiting")


@pytest.fixture
def busy(strained: Server) -> Iterator[int]:
    """Keeps all cores busy with version 1; so many loops keep one so again. In the end only those runs were made."""
    cores = len(os.sched_getaffinity(0))
    loops = calibrated(strained)
    before = count(strained, "runs")
    ask = {"signature_name": "slow", "inputs": [4 * loops]}
    with ThreadPoolExecutor(cores) as clients:
        codes = [clients.submit(lambda: strained.post("m:predict", ask)[0]) for _ in range(cores)]
        wait_until(lambda: count(strained, "running") == cores)
        yield loops
        assert [code.result() for code in codes] == [200] * cores
    assert strained.post("m:predict", {"instances": [0.0]})[0] == 200
    assert count(strained, "runs") == before + cores + 1


def test_nothing_is_run_for_an_http_client_who_has_hung_up(strained: Server, busy: int) -> None:
    body = json.dumps({"signature_name": "slow", "inputs": [busy]}).encode()
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    clients = [socket.create_connection(("127.0.0.1", strained.rest)) for _ in range(5)]
    for client in clients:
        client.sendall(head + body)
    wait_until(lambda: waiting(strained) == 5)
    for client in clients:
        client.close()
    wait_until(lambda: waiting(strained) == 0)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_nothing_is_run_for_a_grpc_caller_who_has_gone(strained: Server, busy: int, how: str) -> None:
    with strained.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_request({"loops": np.array([busy])}, "slow")
        calls = [stub.Predict.future(request, timeout=0.3 if how == "deadline" else 60) for _ in range(5)]
        wait_until(lambda: waiting(strained) == 5)
        for call in calls:
            if how == "cancel":
                call.cancel()
            else:
                assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        wait_until(lambda: waiting(strained) == 0)


BODY = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("begun", [b"POST /v1/models/m:predict HTTP/1.1\r\nX: ", BODY], ids=["head", "body"])
def test_who_sends_a_byte_now_and_then_is_dropped(strained: Server, begun: bytes) -> None:
    with socket.create_connection(("127.0.0.1", strained.rest), timeout=0.2) as client:
        client.sendall(begun)
        received = b""
        until = time.monotonic() + 20
        while not received and time.monotonic() < until:
            client.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                received = client.recv(1000)
    assert received.startswith(b"HTTP/1.1 408 ")


def test_who_does_not_read_the_answers_is_dropped(strained: Server) -> None:
    body = json.dumps({"instances": [0.5] * 100_000}).encode()
    request = (
        f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", strained.rest))
        client.settimeout(20)
        with contextlib.suppress(OSError):  # dropped before all of it was sent
            client.sendall(request * 16)
        over = select.poll()
        over.register(client, 0)  # reports only errors and the end, not data to read
        assert over.poll(20_000)
    assert strained.post("m:predict", {"instances": [0.0]})[0] == 200


def test_silent_connections_lock_nobody_out(strained: Server) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", strained.rest), 20)) for _ in range(8)]
        silent[0].sendall(b"GET /v1/models/m HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(1000).startswith(b"HTTP/1.1 200 ")  # so all eight have been accepted
        assert strained.post("m:predict", {"instances": [0.0]})[0] == 200
        with contextlib.suppress(ConnectionResetError):
            assert silent[1].recv(1000) == b""
        silent[0].sendall(b"GET /v1/models/m HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert silent[0].recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_stalled_reader_of_the_log_stops_no_answer(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    reading, writing = os.pipe()
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m")
    server = start(tmp_path, *flags, environment={"BENISON_ACCESS_LOG": "1"}, log_descriptor=writing)
    try:
        wait_until(lambda: server.post("m:predict", {"instances": [0.0]})[0] == 200, 60)
        for _ in range(1000):  # a pipe takes 64 kB
            assert server.post("m:predict", {"instances": [0.0]})[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    finally:
        server.process.kill()
        server.process.wait()
        os.close(reading)
        os.close(writing)


def test_a_message_that_is_too_large_is_refused_by_grpc_too(strained: Server) -> None:
    with strained.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
            stub.Predict(predict_request({"x": np.zeros(600_000, np.float32)}), timeout=30)


def test_beyond_loopback_nobody_reloads_without_a_token(strained: Server) -> None:
    base = strained.log.parent / "m"
    for token in ("", "guessed"):
        with pytest.raises(ServerError, match="PERMISSION_DENIED: HandleReloadConfigRequest wants"):
            reload(strained, config([entry("other", base)]), token)
    assert strained.ask("GET", "/v1/models/other")[0] == 404


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_without_certificates_of_clients(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    write_certificates(tmp_path)
    (tmp_path / "ssl").write_text(tls(tmp_path, client_verify=False))
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m", f"--ssl_config_file={tmp_path / 'ssl'}")
    with running(tmp_path, *flags) as server:
        known = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
        with grpc.secure_channel(f"127.0.0.1:{server.port}", known) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30)
            assert answer.outputs["y"].float_val == [1.5]
        with server.channel() as channel, pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(
                predict_request({"x": np_any.float32([1])}), timeout=30
            )


@pytest.mark.parametrize("fast", ["on", "off"])
def test_a_tensor_of_a_wrong_shape_is_refused_and_ends_no_process(tmp_path: Path, fast: str) -> None:
    pictures = tf.Module()
    kernel, bias = tf.ones([3, 3, 3, 4]), tf.ones([4])
    pictures.run = tf.function(
        lambda x: {"y": tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias))},
        input_signature=[tf.TensorSpec([None, 16, 16, 3], tf.float32, name="x")],
    )
    tf.saved_model.save(pictures, str(tmp_path / "m" / "1"), signatures=pictures.run)
    flags = (f"--model_base_path={tmp_path / 'm'}", "--model_name=m")
    picture = np.zeros((16, 16, 3)).tolist()
    with running(tmp_path, *flags, environment={"BENISON_FAST_PATHS": fast}) as server:
        for inputs in ([], [1.0], [[1, 2], [3, 4]], picture, [[[[1.0]]]]):
            code, answer = server.post("m:predict", {"inputs": inputs})
            assert (code, answer["error"].endswith("but the signature declares [?,16,16,3]")) == (400, True)
        with server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            with pytest.raises(grpc.RpcError, match=r"got a tensor of shape \[2,16,16\]"):
                stub.Predict(predict_request({"x": np.zeros((2, 16, 16), np.float32)}), timeout=60)
        assert server.post("m:predict", {"instances": [picture]})[0] == 200
