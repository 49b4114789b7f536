"""Versions are loaded, unloaded, fail and move back under load; files that a model contains; starts that fail."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from benison.serving.client import ServerError
from tests.integration.model_server import (
    Server,
    config,
    entry,
    predict_request,
    publish,
    reload,
    running,
    specific,
    start,
    wait_until,
    write_old_tflite,
    write_tflite,
)

np_any: Any = np  # numpy's stubs take a scalar's class for no maker of arrays


@contextlib.contextmanager
def load(server: Server, path: str, clients: int = 4) -> Iterator[list[tuple[int, Any]]]:
    """Asks without a pause until the end of the block; collects every answer."""
    answers: list[tuple[int, Any]] = []
    over = threading.Event()

    def client() -> None:
        while not over.is_set():
            try:
                answers.append(server.post(path, {"instances": [0.0, 2.0]}))
            except OSError as error:
                answers.append((0, str(error)))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_versions_come_go_and_fail_under_load_without_a_failed_request(tmp_path: Path, made: dict[int, Path]) -> None:
    base = tmp_path / "m"
    publish(made[1], base, 1)
    flags = (f"--model_base_path={base}", "--model_name=m", "--max_num_load_retries=0")
    with running(tmp_path, *flags) as server, load(server, "m:predict") as answers:
        for version in (2, 3):
            publish(made[version], base, version)
            wait_until(lambda: server.states("m").get(str(version)) == "AVAILABLE")  # noqa: B023
            wait_until(lambda: server.states("m")[str(version - 1)] == "END")  # noqa: B023
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [3.0]})

        (base / "5").mkdir()  # half-written; and the highest from the start, so that 4 is not looked at yet
        (base / "4").mkdir()
        (base / "4" / "saved_model.pb").write_bytes(b"no model")
        (base / "6.incoming").mkdir()
        (base / "7").symlink_to(made[1])  # leads out of the base path
        wait_until(lambda: server.states("m").get("5") == "END")
        _, answer = server.ask("GET", "/v1/models/m/versions/5")
        assert answer["model_version_status"][0]["status"]["error_code"] == "NOT_FOUND"
        assert "Could not find SavedModel" in answer["model_version_status"][0]["status"]["error_message"]
        assert server.states("m")["3"] == "AVAILABLE"
        assert set(server.states("m")) == {"1", "2", "3", "5"}

        shutil.rmtree(base / "5")
        wait_until(lambda: server.states("m").get("4") == "END")
        shutil.rmtree(base / "4")
        shutil.rmtree(base / "3")  # back to the version before
        wait_until(lambda: server.states("m")["2"] == "AVAILABLE")
        wait_until(lambda: server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]}))
    codes = {code for code, _ in answers}
    assert codes == {200}
    assert len(answers) > 100
    # Never two versions in one answer.
    assert {tuple(answer["predictions"]) for _, answer in answers} == {(n, n + 1.0) for n in (1.0, 2.0, 3.0)}


def test_rollback_by_the_config_file_moves_the_label_after_the_load(tmp_path: Path, made: dict[int, Path]) -> None:
    base, file = tmp_path / "m", tmp_path / "models.config"
    for version in (1, 2):
        publish(made[version], base, version)

    def write(policy: str) -> None:
        (tmp_path / "new").write_text(config([entry("m", base, policy)]))
        (tmp_path / "new").rename(file)

    write(specific(2, stable=2))
    flags = ("--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models=true")
    with running(tmp_path, f"--model_config_file={file}", *flags) as server:
        with load(server, "m/labels/stable:predict") as answers:
            write(specific(1, 2, stable=2))
            wait_until(lambda: server.states("m").get("1") == "AVAILABLE")
            write(specific(1, 2, stable=1))
            one = (200, {"predictions": [1.0]})
            wait_until(lambda: server.post("m/labels/stable:predict", {"instances": [0.0]}) == one)
            write(specific(1, stable=1))
            wait_until(lambda: server.states("m")["2"] == "END")
            write("this is no config")
            wait_until(lambda: "not applied" in server.log.read_text())
            write(specific(1, stable=9))
            wait_until(lambda: "label to version 9" in server.log.read_text())
        assert {code for code, _ in answers} == {200}
        assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [1.0]})


def test_the_reload_rpc_replaces_the_config_and_waits(tmp_path: Path, made: dict[int, Path]) -> None:
    for name, version in (("a", 1), ("b", 2)):
        publish(made[version], tmp_path / name, version)
    a, b = entry("a", tmp_path / "a"), entry("b", tmp_path / "b")
    labelled = entry("b", tmp_path / "b", 'version_labels { key: "stable" value: 2 }')
    flags = (f"--model_base_path={tmp_path / 'a'}", "--model_name=a", "--max_num_load_retries=0")
    with running(tmp_path, *flags, environment={"BENISON_ADMIN_TOKEN": "secret"}) as server:
        with pytest.raises(ServerError, match="PERMISSION_DENIED"):
            reload(server, config([b]))
        with pytest.raises(ServerError, match="PERMISSION_DENIED"):
            reload(server, config([b]), "wrong")
        with pytest.raises(ServerError, match="FAILED_PRECONDITION: Request to assign label to version 2 of model b"):
            reload(server, config([labelled]), "secret")
        assert server.post("a:predict", {"instances": [0.0]})[0] == 200
        reload(server, config([b]), "secret")
        assert server.post("b:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]})
        wait_until(lambda: server.states("a") == {"1": "END"})
        assert server.post("a:predict", {"instances": [0.0]})[0] == 404
        reload(server, config([labelled, a]), "secret")
        assert server.post("b/labels/stable:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]})
        for wrong in ([a, a], [entry("a", Path("relative"))], [f'name: "a" base_path: "{tmp_path}"']):
            with pytest.raises(ServerError, match="INVALID_ARGUMENT"):
                reload(server, config(wrong), "secret")
        with channel_to(server) as stub, pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
            stub.HandleReloadConfigRequest(
                model_management_pb2.ReloadConfigRequest(), timeout=30, metadata=[("authorization", "Bearer secret")]
            )
        (tmp_path / "c" / "1").mkdir(parents=True)
        with pytest.raises(ServerError, match="did not become available"):
            reload(server, config([labelled, a, entry("c", tmp_path / "c")]), "secret")


@contextlib.contextmanager
def channel_to(server: Server) -> Iterator[Any]:
    with server.channel() as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


# --- models that bring more along, and starts that fail ---------------------------------------------------------------


def test_warm_up_runs_before_a_version_serves_and_a_wrong_one_fails_it(tmp_path: Path, made: dict[int, Path]) -> None:
    for version, signature in ((1, ""), (2, "no")):
        publish(made[version], tmp_path / "m", version)
        extra = tmp_path / "m" / str(version) / "assets.extra"
        extra.mkdir()
        record = prediction_log_pb2.PredictionLog()
        record.predict_log.request.CopyFrom(predict_request({"x": np_any.float32([1])}, signature))
        with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
            writer.write(record.SerializeToString())
    write_tflite(tmp_path / "lite" / "1")
    write_tflite(tmp_path / "unsigned" / "1", signed=False)
    write_old_tflite(tmp_path / "old" / "1")
    all_of = "model_version_policy { all {} }"
    (tmp_path / "config").write_text(
        config(
            [
                entry("m", tmp_path / "m", all_of),
                *(entry(name, tmp_path / name) for name in ("lite", "unsigned", "old")),
            ]
        )
    )
    flags = (f"--model_config_file={tmp_path / 'config'}", "--prefer_tflite_model", "--max_num_load_retries=0")
    with running(tmp_path, *flags) as server:
        wait_until(lambda: server.states("m") == {"1": "AVAILABLE", "2": "END"})
        _, answer = server.ask("GET", "/v1/models/m/versions/2")
        assert answer["model_version_status"][0]["status"] == {
            "error_code": "FAILED_PRECONDITION", "error_message": 'Serving signature key "no" not found.',
        }  # fmt: skip
        assert server.post("lite:predict", {"instances": [1.0, 2.0]}) == (200, {"predictions": [3.0, 6.0]})
        assert server.post("lite:predict", {"instances": [1.0]}) == (200, {"predictions": [3.0]})
        assert server.ask("GET", "/benison/status")[1]["models"]["lite"]["versions"]["1"]["engine"] == "tflite"
        assert server.post("unsigned:predict", {"inputs": {"x": [1.0, 2.0]}}) == (200, {"outputs": [3.0, 6.0]})
        with server.channel() as channel:
            request = predict_request({"x": np_any.float32([1, 2])}, model="unsigned")
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            assert list(stub.Predict(request, timeout=60).outputs) == ["Identity"]
            request = predict_request({"number": np_any.float32([1, 2])}, model="old")
            assert list(stub.Predict(request, timeout=60).outputs["triple"].float_val) == [3.0, 6.0]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--model_base_path=/x", "--rest_port=1"], 2, "unknown flag --rest_port; did you mean --rest_api_port?"),
        (["--model_base_path=relative"], 1, "to have an absolute path"),
        (["--model_config_file=/nowhere"], 2, "/nowhere: No such file or directory"),
        (["--model_base_path={folder}", "--max_num_load_retries=0"], 1, "did not become available"),
    ],
)
def test_a_wrong_start_says_so_and_ends(tmp_path: Path, flags: list[str], code: int, message: str) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    server = start(tmp_path, *(flag.format(folder=tmp_path / "m") for flag in flags))
    assert server.process.wait(60) == code, server.log.read_text()
    assert message in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
