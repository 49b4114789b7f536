"""Runs end at their deadlines, go side by side, and none keeps the others or the process waiting."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.integration.model_server import Server, predict_request, running, wait_until

FOR_EVER = 9 * 10**18
DTYPES = {"n": "int64", "x": "float32"}


class Functions(tf.Module):
    """Signatures that take as long as a request asks for, or for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0, dtype=tf.int64)
        self.kernel = tf.Variable(tf.zeros([3, 3, 24, 24]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def loop(self, n: Any) -> dict[str, Any]:
        most, i = tf.reduce_max(n), tf.constant(0, tf.int64)
        while i < most:
            i += 1
        return {"y": n + 0 * i}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="name")])
    def read(self, name: Any) -> dict[str, Any]:
        return {"y": tf.strings.length(name) + tf.strings.length(tf.io.read_file(name[0]))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
    def counted(self, n: Any) -> dict[str, Any]:
        return {"y": 0 * n + self.count.assign_add(1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def short(self, x: Any) -> dict[str, Any]:
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def slow_rows(self, x: Any) -> dict[str, Any]:
        hidden = x[:, None, None, None] * tf.ones([1, 96, 96, 24])
        for _ in range(5):
            hidden = tf.tanh(tf.nn.conv2d(hidden, self.kernel, 1, "SAME"))
        return {"y": x + tf.reduce_sum(hidden, [1, 2, 3])}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "m"
    functions = Functions()
    names = ("loop", "read", "counted", "short", "slow_rows")
    tf.saved_model.save(functions, str(folder / "1"), {name: getattr(functions, name) for name in names})
    return folder


def served(model: Path, folder: Path, *flags: str, **environment: str) -> Any:
    flags = (f"--model_base_path={model}", "--model_name=m", "--enable_grpc_healthcheck_service", *flags)
    return running(folder, *flags, environment={"BENISON_REFUSE_OPS": "0", **environment})


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(model, tmp_path_factory.mktemp("server"), "--rest_api_timeout_in_ms=1000") as running_server:
        yield running_server


@pytest.fixture
def ask(server: Server) -> Iterator[Callable[..., Any]]:
    """Return a function that asks over gRPC, for the outputs or the code of the failure."""
    with server.channel() as channel:
        yield asker(channel)


def asker(channel: grpc.Channel) -> Callable[..., Any]:
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(signature: str, timeout: float | None = 60.0, **inputs: Any) -> Any:
        try:
            arrays = {name: np.array(value, DTYPES.get(name)) for name, value in inputs.items()}
            response = stub.Predict(predict_request(arrays, signature), timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name
        return tf.make_ndarray(response.outputs["y"]).tolist()

    return ask


def status(server: Server) -> dict[str, Any]:
    return dict(server.ask("GET", "/benison/status")[1]["models"]["m"]["versions"]["1"])


def processor_seconds(server: Server) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_idle(server: Server) -> bool:
    before = processor_seconds(server)
    time.sleep(0.5)
    return processor_seconds(server) - before < 0.2


def loops_for(ask: Callable[..., Any], seconds: float) -> int:
    """Return how many loops take about this time."""
    loops, taken = 50_000, 0.0
    while taken < 0.1:
        loops *= 2
        start = time.monotonic()
        assert ask("loop", n=[loops]) == [loops]
        taken = time.monotonic() - start
    return int(loops * seconds / taken)


def test_a_slow_model_is_not_tried_for_long(server: Server) -> None:
    (why,) = status(server)["paths"]["slow_rows"]["because"]
    assert why.startswith(("not inline: one row takes ", "not inline: the trials of this version at load took longer"))


def test_a_loop_ends_at_the_deadline_of_its_request(server: Server, ask: Callable[..., Any]) -> None:
    for _ in range(3):
        assert ask("loop", timeout=1.0, n=[FOR_EVER]) == "DEADLINE_EXCEEDED"
    assert server.post("m:predict", {"signature_name": "loop", "inputs": [FOR_EVER]})[0] == 504
    assert ask("loop", n=[3]) == [3]
    wait_until(lambda: is_idle(server))
    assert status(server)["hung_runs"] == 0


def test_one_of_several_requests_of_a_run_cannot_end_it_for_the_others(ask: Callable[..., Any]) -> None:
    with ThreadPoolExecutor(8) as clients:
        answers = list(
            clients.map(lambda n: ask("loop", 3.0 if n == FOR_EVER else 30.0, n=[n]), [1, 2, FOR_EVER, 3, 4])
        )
    assert answers == [[1], [2], "DEADLINE_EXCEEDED", [3], [4]]


def test_a_short_request_does_not_wait_for_long_runs(ask: Callable[..., Any]) -> None:
    loops = loops_for(ask, 1.5)
    ended: list[str] = []

    def call(name: str, signature: str, **inputs: Any) -> None:
        assert isinstance(ask(signature, **inputs), list)
        ended.append(name)

    with ThreadPoolExecutor(10) as clients:
        calls = [clients.submit(call, "long", "loop", n=[loops + number] * 2) for number in range(6)]
        calls.append(clients.submit(call, "large", "slow_rows", x=[1.0] * 100))
        time.sleep(0.3)
        calls += [clients.submit(call, name, name, x=[1.0]) for name in ("short", "slow_rows")]
        for done in calls:
            done.result()
    assert set(ended[:2]) == {"short", "slow_rows"}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_runs_that_share_nothing_go_side_by_side(server: Server, ask: Callable[..., Any]) -> None:
    loops = loops_for(ask, 1.0)
    most = 0
    with ThreadPoolExecutor(6) as clients:
        calls = [clients.submit(ask, "loop", n=[loops] * 100) for _ in range(6)]
        while not all(done.done() for done in calls):
            threads = [
                (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "R"
                for task in Path(f"/proc/{server.process.pid}/task").iterdir()
            ]
            most = max(most, sum(threads))
    assert most >= 2


def test_requests_of_a_signature_that_writes_run_one_at_a_time(ask: Callable[..., Any]) -> None:
    with ThreadPoolExecutor(20) as clients:
        counts = [count for (count,) in clients.map(lambda _: ask("counted", n=[0]), range(200))]
    assert sorted(counts) == list(range(1, 201))


def test_sigterm_ends_the_process_although_a_loop_has_no_deadline(model: Path, tmp_path: Path) -> None:
    with served(model, tmp_path, BENISON_DRAIN_SECONDS="1") as server, server.channel() as channel:
        ask = asker(channel)
        threading.Thread(target=ask, args=["loop", None], kwargs={"n": [FOR_EVER]}, daemon=True).start()
        wait_until(lambda: not is_idle(server))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_operations_that_hang_end_their_version_and_the_process_still_ends(model: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    name = [str(tmp_path / "pipe")]  # nobody opens it for writing, so TensorFlow waits in a call of the system
    environment = {"BENISON_DRAIN_SECONDS": "1", "BENISON_HUNG_SECONDS": "1"}
    with served(model, tmp_path, **environment) as server, server.channel() as channel:
        ask = asker(channel)
        assert ask("read", timeout=0.5, name=name) == "DEADLINE_EXCEEDED"
        wait_until(lambda: status(server)["hung_runs"] == 1)
        assert ask("short", x=[1.0]) == [2]
        assert ask("read", name=[str(model / "1/saved_model.pb")]) != "DEADLINE_EXCEEDED"
        assert healthy(channel)
        assert ask("read", timeout=0.5, name=name) == "DEADLINE_EXCEEDED"
        wait_until(lambda: server.states("m") == {"1": "END"})
        assert "2 runs did not end after their deadlines" in status(server)["error"]
        assert not healthy(channel)
        assert ask("short", x=[1.0]) == "NOT_FOUND"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 3
        assert "2 runs have not ended; the process ends without them" in server.log.read_text()


def healthy(channel: grpc.Channel) -> bool:
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    return check(b"", timeout=10) == b"\x08\x01"
