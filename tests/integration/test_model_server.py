"""The model server as its users meet it: a process of its own, small models, and clients that none of us wrote."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.client import GrpcClient, RestClient, ServerError

np_any: Any = np  # numpy's stubs take a scalar's class for no maker of arrays

v1 = tf.compat.v1


# --- models, made by plain TensorFlow ---------------------------------------------------------------------------------


def _info(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in tensors.items()}


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
    return v1.saved_model.build_signature_def(_info(inputs), _info(outputs), f"tensorflow/serving/{method}")


def write_model(folder: Path, offset: float) -> Path:
    """A SavedModel with y = x / 2 + offset and a signature for every kind of request."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        level = v1.get_variable("level", initializer=float(offset))
        y = x * 0.5 + level
        examples = v1.placeholder(tf.string, [None], "examples")
        parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        s = v1.placeholder(tf.string, [None], "s")
        i = v1.placeholder(tf.int64, [None], "i")
        f = v1.placeholder(tf.float32, [None, 2], "f")
        b = v1.placeholder(tf.bool, [None], "b")
        loops = v1.placeholder(tf.int64, [None], "loops")
        square = tf.ones([100, 100]) * 0.01
        count = tf.reduce_max(loops)
        ground = tf.while_loop(
            lambda n, _: n < count, lambda n, m: (n + 1, m @ square), [tf.constant(0, tf.int64), square]
        )
        u8 = v1.placeholder(tf.uint8, [None], "u8")
        half = v1.placeholder(tf.float16, [None], "half")
        signatures = {
            "serving_default": _signature({"x": x}, {"y": y}),
            "types": _signature(
                {"s": s, "i": i, "f": f, "b": b},
                {
                    "s_bytes": s + "!",
                    "text": tf.identity(s),
                    "i": i + 1,
                    "sum": tf.reduce_sum(f, 1),
                    "not": ~b,
                    "f": f * 2,
                },
            ),
            "strings": _signature({"s": s}, {"s_bytes": tf.identity(s)}),
            "total": _signature({"x": x}, {"total": tf.reduce_sum(x)}),
            "centred": _signature({"x": x}, {"c": x - tf.reduce_mean(x)}),
            "slow": _signature({"loops": loops}, {"n": tf.cast(loops, tf.float32) + 0 * ground[1][0, 0]}),
            "bytes": _signature({"u8": u8}, {"u8": tf.identity(u8)}),
            "half": _signature({"half": half}, {"half": tf.identity(half)}),
            "ratio": _signature({"x": x}, {"r": x / 0.0}),
            "classify": _signature(
                {"inputs": examples},
                {
                    "classes": tf.tile([["low", "high"]], [tf.shape(parsed)[0], 1]),
                    "scores": tf.concat([1 - parsed, parsed], 1),
                },
                "classify",
            ),
            "regress": _signature({"inputs": examples}, {"outputs": parsed * 0.5 + level}, "regress"),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


def publish(made: Path, base: Path, version: int) -> None:
    """Makes a version visible all at once."""
    base.mkdir(parents=True, exist_ok=True)
    aside = base / f".{version}"
    shutil.copytree(made, aside)
    aside.rename(base / str(version))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Models by offset; a version's offset is its number."""
    folder = tmp_path_factory.mktemp("made")
    return {offset: write_model(folder / str(offset), offset) for offset in (1, 2, 3)}


# --- the server -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits for a condition; one that raises does not hold yet."""
    until = time.monotonic() + seconds
    problem: Exception | None = None
    while time.monotonic() < until:
        try:
            if value := condition():
                return value
        except (OSError, AssertionError, grpc.RpcError) as error:
            problem = error
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {problem}")


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    rest: int
    log: Path

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """By urllib: status and decoded answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rest}{path}", data=data, method=method, headers=headers or {}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.ask("POST", f"/v1/models/{path}", body)

    def states(self, model: str) -> dict[str, str]:
        """State by version."""
        code, answer = self.ask("GET", f"/v1/models/{model}")
        assert code == 200, answer
        return {entry["version"]: entry["state"] for entry in answer["model_version_status"]}

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}")


@contextlib.contextmanager
def running(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A server until the end of the block; its ports are open when the block begins."""
    server = start(folder, *flags, environment=environment)
    try:
        wait_until(lambda: server.process.poll() is not None or "Exporting HTTP/REST API" in server.log.read_text(), 60)
        assert server.process.poll() is None, server.log.read_text()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def start(folder: Path, *flags: str, environment: dict[str, str] | None = None) -> Server:
    port, rest = free_port(), free_port()
    log = folder / f"server-{port}.log"
    command = [sys.executable, "-c", "from serving.server.main import main; main()"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--port={port}", f"--rest_api_port={rest}", *flags],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    return Server(process, port, rest, log)


def config(models: Sequence[str]) -> str:
    return "model_config_list {\n" + "\n".join(f"  config {{ {model} }}" for model in models) + "\n}\n"


def entry(name: str, base: Path, more: str = "") -> str:
    return f'name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more}'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """The server of most tests: model `m`, versions 1 and 2 by `all`, label `stable` on 1; unchanging."""
    folder = tmp_path_factory.mktemp("shop")
    for version in (1, 2):
        publish(made[version], folder / "m", version)
    (folder / "monitoring").write_text('prometheus_config { enable: true path: "/metrics" }')
    labelled = 'model_version_policy { all {} } version_labels { key: "stable" value: 1 }'
    (folder / "models.config").write_text(config([entry("m", folder / "m", labelled)]))
    with running(
        folder,
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring'}",
        f"--grpc_socket_path={folder / 'socket'}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service",
        "--rest_api_num_threads=4",
    ) as server:
        yield server


# --- REST -------------------------------------------------------------------------------------------------------------

TYPES = {"s": "a", "i": 1, "f": [1.0, 2.0], "b": True}


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("m:predict", {"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ("m:predict", {"instances": [{"x": 1.0}]}, {"predictions": [2.5]}),
        ("m:predict", {"inputs": [1, 2]}, {"outputs": [2.5, 3.0]}),
        ("m:predict", {"inputs": {"x": [1]}}, {"outputs": [2.5]}),
        ("m/versions/1:predict", {"instances": [1.0]}, {"predictions": [1.5]}),
        ("m/versions/2:predict", {"instances": [1.0]}, {"predictions": [2.5]}),
        ("m/labels/stable:predict", {"instances": [1.0]}, {"predictions": [1.5]}),
        (
            "m:predict",
            {"signature_name": "types", "instances": [TYPES]},
            {"predictions": [{"f": [2.0, 4.0], "i": 2, "not": False, "s_bytes": {"b64": "YSE="}, "sum": 3.0, "text": "a"}]},
        ),
        (
            "m:predict",
            {"signature_name": "types", "inputs": {name: [value] for name, value in TYPES.items()}},
            {
                "outputs": {
                    "f": [[2.0, 4.0]], "i": [2], "not": [False], "s_bytes": [{"b64": "YSE="}], "sum": [3.0], "text": ["a"],
                }
            },
        ),
        ("m:predict", {"signature_name": "strings", "instances": [{"b64": "/w=="}]}, {"predictions": [{"b64": "/w=="}]}),
        ("m:predict", {"signature_name": "total", "inputs": [1, 2]}, {"outputs": 3.0}),
        ("m:predict", {"signature_name": "strings", "inputs": {"b64": "_w"}}, {"outputs": {"b64": "/w=="}}),
        ("m:predict", {"signature_name": "bytes", "instances": [0, 255]}, {"predictions": [0, 255]}),
        (
            "m:classify",
            {"signature_name": "classify", "examples": [{"x": 0.25}, {"x": [0.5]}]},
            {"results": [[["low", 0.75], ["high", 0.25]], [["low", 0.5], ["high", 0.5]]]},
        ),
        ("m:regress", {"signature_name": "regress", "examples": [{"x": 1.0}]}, {"results": [2.5]}),
        ("m:regress", {"signature_name": "regress", "context": {"x": 4.0}, "examples": [{}]}, {"results": [4.0]}),
        ("m/versions/1:regress", {"signature_name": "regress", "examples": [{"x": 1.0}]}, {"results": [1.5]}),
    ],
)  # fmt: skip
def test_rest_answers_as_tf_serving(shop: Server, path: str, body: Any, answer: Any) -> None:
    assert shop.post(path, body) == (200, answer)


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("m:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("m:predict", b"{", 400, "JSON Parse error: "),
        ("m:predict", b"[1]", 400, "Is not object"),
        ("m:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("m:predict", {"inputs": [1], "instances": [1]}, 400, "expecting only one of 'inputs' or 'instances'"),
        ("m:predict", {"instances": 1}, 400, "Expecting 'instances' to be an list/array"),
        ("m:predict", {"instances": []}, 400, "No values in 'instances' array"),
        ("m:predict", {"instances": ["a"]}, 400, "is not of expected type: float"),
        ("m:predict", {"instances": [{"z": 1}]}, 400, "does not have named input: z"),
        ("m:predict", {"inputs": {"z": 1}}, 400, "Missing named input: x in 'inputs' object."),
        ("m:predict", {"signature_name": 3, "instances": [1]}, 400, "'signature_name' key must be a string value."),
        ("m:predict", {"signature_name": "no", "instances": [1]}, 400, 'Serving signature name: "no" not found in signature def'),
        ("m:predict", {"signature_name": "types", "instances": [1]}, 400, "instances is a plain list, but expecting list of objects"),
        ("m:predict", {"signature_name": "total", "instances": [1]}, 400, "Tensor name: total has no shape information"),
        ("m:predict", {"signature_name": "half", "instances": [1]}, 400, "to type: half"),
        ("m:predict", {"signature_name": "classify", "instances": [{"b64": "_w"}]}, 400, "Could not parse example input"),
        ("none:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(none)"),
        ("m/versions/9:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(m, 9)"),
        ("m/versions/99999999999999999999:predict", {"instances": [1]}, 400, "Failed to convert version"),
        ("m/labels/no:predict", {"instances": [1]}, 400, "Unrecognized servable version label: no"),
        ("m:explode", {}, 400, "Malformed request: POST /v1/models/m:explode"),
        ("m:classify", {"examples": [{"x": 1.0}]}, 400, "No classification inputs found in SignatureDef"),
        ("m:classify", {"signature_name": "classify"}, 400, "key 'examples' is expected and was not found"),
        ("m:classify", {"signature_name": "classify", "examples": []}, 400, "'examples' value is an empty array"),
        ("m:regress", {"signature_name": "regress", "examples": [{"x": "text"}]}, 400, "x"),
        ("m:regress", {"signature_name": "no", "examples": [{}]}, 400, "No signature was found with the name: no"),
    ],
)  # fmt: skip
def test_rest_refuses_as_tf_serving(shop: Server, path: str, body: Any, code: int, message: str) -> None:
    got, answer = shop.post(path, body)
    assert got == code
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert "Traceback" not in answer["error"]
    assert ".py" not in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/models/m", 200),
        ("GET", "/v1/models/m/versions/1", 200),
        ("GET", "/v1/models/m/labels/anything", 200),
        ("GET", "/V1/Models/m", 200),
        ("GET", "/v1/models/m/versions/9", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/v1/models", 400),
        ("GET", "/v1/models/m:predict", 400),
        ("GET", "/v1/models/m/metadata", 200),
        ("GET", "/v1/models/m/versions/1/metadata", 200),
        ("GET", "/v1/models/m/labels/stable/metadata", 200),
        ("GET", "/v1/models/none/metadata", 404),
        ("GET", "/v1/models/../../etc/passwd", 400),
        ("PUT", "/v1/models/m", 400),
        ("DELETE", "/v1/models/m", 400),
        ("POST", "/v1/models/m", 400),
        ("OPTIONS", "/v1/models/m", 400),
        ("GET", "/v2", 404),
        ("GET", "/", 404),
        ("GET", "/benison/status", 200),
        ("GET", "/benison/other", 404),
    ],
)
def test_every_verb_and_path_has_tf_servings_code(shop: Server, method: str, path: str, code: int) -> None:
    assert shop.ask(method, path)[0] == code


def test_status_has_tf_servings_form_and_no_more(shop: Server) -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert shop.ask("GET", "/v1/models/m") == (
        200,
        {"model_version_status": [{"version": v, "state": "AVAILABLE", "status": ok} for v in ("2", "1")]},
    )


def test_metadata_describes_the_signatures(shop: Server) -> None:
    _, answer = shop.ask("GET", "/v1/models/m/metadata")
    assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "2"}
    described = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert described["method_name"] == "tensorflow/serving/predict"
    assert described["inputs"]["x"] == {
        "name": "x:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


def test_nan_and_infinity_go_in_and_come_out(shop: Server) -> None:
    code, answer = shop.post("m:predict", b'{"instances": [NaN, Infinity, -Infinity]}')
    assert code == 200
    assert str(answer["predictions"]) == "[nan, inf, -inf]"
    code, answer = shop.post("m:predict", {"signature_name": "ratio", "instances": [1.0, -1.0, 0.0]})
    assert str(answer["predictions"]) == "[inf, -inf, nan]"


def test_curl_speaks_with_it_a_large_body_too(shop: Server, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(json.dumps({"instances": [0.5] * 400_000}))  # above curl's Expect: 100-continue
    url = f"http://127.0.0.1:{shop.rest}/v1/models/m:predict"
    done = subprocess.run(["curl", "-sS", url, "-d", f"@{tmp_path / 'body.json'}"], capture_output=True, check=True)
    assert json.loads(done.stdout)["predictions"] == [2.25] * 400_000


def test_pipelined_requests_are_answered_in_their_order(shop: Server) -> None:
    def request(value: int) -> bytes:
        body = json.dumps({"instances": [value]}).encode()
        return b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    with socket.create_connection(("127.0.0.1", shop.rest)) as connection:
        connection.sendall(b"".join(request(2 * n) for n in range(40)))
        received = b""
        while received.count(b"predictions") < 40:
            received += connection.recv(65536)
    assert [f"[{n + 2.0}]" in part for n, part in enumerate(received.decode().split('"predictions":')[1:])] == [
        True
    ] * 40


def test_malformed_http_ends_the_connection_with_400(shop: Server) -> None:
    with socket.create_connection(("127.0.0.1", shop.rest)) as connection:
        connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


def test_prometheus_has_tf_servings_names_at_the_configured_path(shop: Server) -> None:
    shop.post("m:predict", {"instances": [1.0]})
    with urllib.request.urlopen(f"http://127.0.0.1:{shop.rest}/metrics") as response:
        page = response.read().decode()
    assert ':tensorflow:serving:request_count{model_name="m",status="OK"}' in page
    assert ':tensorflow:serving:request_latency_bucket{model_name="m",API="predict",entrypoint="REST",le="10"}' in page


def test_a_model_whose_rows_depend_on_each_other_is_not_batched(shop: Server) -> None:
    def ask(value: float) -> Any:
        return shop.post("m:predict", {"signature_name": "centred", "instances": [value, value + 2.0]})

    answers: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: answers.append(ask(10.0 * n))) for n in range(24)]
    shop_busy = threading.Thread(target=lambda: shop.post("m:predict", {"signature_name": "slow", "instances": [3000]}))
    for thread in [shop_busy, *threads]:
        thread.start()
    for thread in [shop_busy, *threads]:
        thread.join()
    assert answers == [(200, {"predictions": [-1.0, 1.0]})] * 24


def test_known_flags_without_effect_give_one_warning(shop: Server) -> None:
    assert shop.log.read_text().count("--rest_api_num_threads is known but not honoured") == 1


# --- gRPC, by the stubs of tensorflow-serving-api ---------------------------------------------------------------------


def predict_request(inputs: dict[str, Any], signature: str = "", model: str = "m") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


@pytest.fixture
def stub(shop: Server) -> Iterator[Any]:
    with shop.channel() as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def test_predict_of_every_type_by_grpc(stub: Any) -> None:
    inputs = {"s": np.array([b"\xff"]), "i": np.array([2**40]), "f": np.ones([1, 2], np.float32), "b": np.array([True])}
    answer = stub.Predict(predict_request(inputs, "types"), timeout=30)
    assert answer.model_spec.version.value == 2
    assert answer.model_spec.signature_name == "types"
    got = {name: tf.make_ndarray(proto).tolist() for name, proto in answer.outputs.items()}
    assert got == {
        "s_bytes": [b"\xff!"],
        "text": [b"\xff"],
        "i": [2**40 + 1],
        "sum": [2.0],
        "not": [False],
        "f": [[2.0, 2.0]],
    }
    half = stub.Predict(predict_request({"half": np.array([1.5, -2], np.float16)}, "half"), timeout=30)
    assert tf.make_ndarray(half.outputs["half"]).tolist() == [1.5, -2.0]


def test_repeated_fields_and_tensor_content_mean_the_same(stub: Any) -> None:
    as_content = predict_request({"x": np.array([1, 3], np.float32)})
    as_fields = predict_request({})
    as_fields.inputs["x"].dtype = tf.float32.as_datatype_enum
    as_fields.inputs["x"].tensor_shape.dim.add(size=2)
    as_fields.inputs["x"].float_val.extend([1, 3])
    assert as_content.inputs["x"].tensor_content
    for request in (as_content, as_fields):
        outputs = stub.Predict(request, timeout=30).outputs
        assert list(outputs["y"].float_val) == [2.5, 3.5]


def test_the_output_filter_chooses(stub: Any) -> None:
    inputs = {"s": ["a"], "i": np.array([1]), "f": np.ones([1, 2], np.float32), "b": np.array([True])}
    request = predict_request(inputs, "types")
    request.output_filter.extend(["sum", "i"])
    assert sorted(stub.Predict(request, timeout=30).outputs) == ["i", "sum"]


def huge() -> Any:
    request = predict_request({"x": np_any.float32([1])})
    del request.inputs["x"].tensor_shape.dim[:]
    request.inputs["x"].tensor_shape.dim.add(size=2**40)
    return request


def filtered(*names: str) -> Any:
    request = predict_request({"x": np_any.float32([1])})
    request.output_filter.extend(names)
    return request


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda: predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (lambda: predict_request({"x": np_any.float32([1])}, model="none"), "NOT_FOUND", "Servable not found"),
        (lambda: predict_request({"x": np_any.float32([1])}, "no"), "FAILED_PRECONDITION", 'Serving signature key "no" not found.'),
        (lambda: predict_request({}), "INVALID_ARGUMENT", "Missing but required: {x}"),
        (lambda: predict_request({"x": np_any.float32([1]), "z": [1]}), "INVALID_ARGUMENT", "Sent extra: {z}"),
        (lambda: predict_request({"x": np_any.float64([1])}), "INVALID_ARGUMENT", "to be float32 but float64"),
        (huge, "INVALID_ARGUMENT", "far more than"),
        (lambda: filtered("no"), "INVALID_ARGUMENT", "output tensor alias not found in signature: no"),
        (lambda: filtered("y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    ],
)  # fmt: skip
def test_predict_refuses_as_tf_serving(stub: Any, make: Any, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(make(), timeout=30)
    assert error.value.code().name == code
    assert message in error.value.details()


def example(**features: float) -> Any:
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def test_classify_regress_and_multi_inference(stub: Any) -> None:
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name, classify.model_spec.signature_name = "m", "classify"
    classify.input.example_list.examples.append(example(x=0.25))
    (row,) = stub.Classify(classify, timeout=30).result.classifications
    assert [(entry.label, entry.score) for entry in row.classes] == [("low", 0.75), ("high", 0.25)]

    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name, regress.model_spec.signature_name = "m", "regress"
    regress.input.example_list_with_context.context.CopyFrom(example(x=4.0))
    regress.input.example_list_with_context.examples.extend([example(), example(x=1.0)])
    result = stub.Regress(regress, timeout=30).result
    assert [entry.value for entry in result.regressions] == [4.0, 2.5]

    multi = inference_pb2.MultiInferenceRequest()
    multi.input.example_list.examples.append(example(x=0.5))
    for name in ("classify", "regress"):
        task = multi.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "m", name
    first, second = stub.MultiInference(multi, timeout=30).results
    assert first.classification_result.classifications[0].classes[1].score == 0.5
    assert second.regression_result.regressions[0].value == 2.25
    del multi.tasks[:]
    with pytest.raises(grpc.RpcError, match="INVALID_ARGUMENT"):
        stub.MultiInference(multi, timeout=30)


def test_metadata_status_and_health_by_grpc(shop: Server, stub: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "m"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=30).metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["regress"].method_name == "tensorflow/serving/regress"
    with shop.channel() as channel:
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "m"
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, timeout=30)
        assert [(entry.version, entry.state) for entry in answer.model_version_status] == [(2, 30), (1, 30)]
        assert channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30) == b"\x08\x01"


def test_the_unix_socket_answers(shop: Server) -> None:
    with grpc.insecure_channel(f"unix:{shop.log.parent / 'socket'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30).outputs["y"].float_val[0] == 2.5


# --- ovmsclient, Intel's client of TF Serving's API ---------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_ovmsclient_speaks_with_it(shop: Server, protocol: str) -> None:
    ovmsclient = pytest.importorskip("ovmsclient")
    make, port = {
        "http": (ovmsclient.make_http_client, shop.rest),
        "grpc": (ovmsclient.make_grpc_client, shop.port),
    }[protocol]
    client = make(f"127.0.0.1:{port}")
    assert client.get_model_status("m", 1)[1]["state"] == "AVAILABLE"
    assert "x" in str(client.get_model_metadata("m", 1))
    assert client.predict({"x": np_any.float32([1.0, 2.0])}, "m", 1).tolist() == [1.5, 2.0]


# --- Benison's own client ---------------------------------------------------------------------------------------------


def test_our_client_speaks_both(shop: Server) -> None:
    import asyncio

    async def talk() -> None:
        async with RestClient(port=shop.rest) as rest:
            assert await rest.predict("m", instances=[1.0], label="stable") == [1.5]
            assert [status.version for status in await rest.status("m")] == [2, 1]
            assert "types" in await rest.metadata("m")
            with pytest.raises(ServerError, match="HTTP 404"):
                await rest.predict("none", instances=[1.0])
            assert await rest.predict("m", inputs=[1.0], version=2) == [2.5]
        async with GrpcClient(f"127.0.0.1:{shop.port}") as client:
            assert (await client.predict("m", {"x": np_any.float32([1])}))["y"].tolist() == [2.5]
            assert [status.state for status in await client.status("m", 1)] == ["AVAILABLE"]
            assert "types" in await client.metadata("m")
            with pytest.raises(ServerError, match="NOT_FOUND"):
                await client.status("none")

    asyncio.run(talk())


# --- the life of versions ---------------------------------------------------------------------------------------------


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


def specific(*versions: int, **labels: int) -> str:
    chosen = " ".join(f"versions: {version}" for version in versions)
    given = " ".join(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items())
    return f"model_version_policy {{ specific {{ {chosen} }} }} {given}"


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


def reload(server: Server, text: str, token: str = "") -> None:
    import asyncio

    async def ask() -> None:
        async with GrpcClient(f"127.0.0.1:{server.port}") as client:
            await client.reload(text, token=token)

    asyncio.run(ask())


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


# --- stress, and the end ----------------------------------------------------------------------------------------------


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


def calibrated(server: Server) -> int:
    """So many loops that a `slow` request takes about half a second on this machine."""
    loops = 1000

    def seconds() -> float:
        begun = time.monotonic()
        assert server.post("m:predict", {"signature_name": "slow", "inputs": [loops]})[0] == 200
        return time.monotonic() - begun

    # The fastest of some: whatever else runs on the machine only makes it look slower than it is.
    while (taken := min(seconds() for _ in range(3))) < 0.1:
        loops *= 2
    return int(loops / taken / 2)


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def write_certificates(folder: Path) -> None:
    """ca.pem, and server.key/.pem and client.key/.pem signed by it."""
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    openssl("req", "-x509", *key, folder / "ca.key", "-out", folder / "ca.pem", "-subj", "/CN=ca", "-days", 2)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", *key, folder / f"{name}.key", "-out", folder / f"{name}.csr", "-subj", f"/CN={name}")
        signed = (
            "-CA",
            folder / "ca.pem",
            "-CAkey",
            folder / "ca.key",
            "-CAcreateserial",
            "-extfile",
            folder / "names",
        )
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-out", folder / f"{name}.pem", "-days", 2, *signed)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server with a short timeout, batches of 4 at most, and mutual TLS."""
    folder = tmp_path_factory.mktemp("strict")
    publish(made[1], folder / "m", 1)
    (folder / "batching").write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 1000 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
    )
    write_certificates(folder)
    pem = {name: json.dumps((folder / name).read_text()) for name in ("server.key", "server.pem", "ca.pem")}
    (folder / "ssl").write_text(
        f"server_key: {pem['server.key']} server_cert: {pem['server.pem']} custom_ca: {pem['ca.pem']} client_verify: true"
    )
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
    ask = {"signature_name": "slow", "inputs": [6 * calibrated(strict)]}
    assert strict.post("m:predict", ask) == (504, {"error": "Timed out"})
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


# --- models that bring more along, and starts that fail ---------------------------------------------------------------


def write_tflite(folder: Path) -> None:
    class Triple(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> dict[str, Any]:
            return {"y": x * 3.0}

    triple = Triple()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([triple.run.get_concrete_function()], triple)
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(converter.convert())


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
    all_of = "model_version_policy { all {} }"
    (tmp_path / "config").write_text(config([entry("m", tmp_path / "m", all_of), entry("lite", tmp_path / "lite")]))
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
