"""The model server as its users meet it: a process of its own, small models, and clients that none of us wrote."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from benison.serving.client import GrpcClient, RestClient, ServerError
from tests.integration.model_server import (
    Server,
    config,
    entry,
    example,
    predict_request,
    programs,
    publish,
    running,
    wait_until,
)

np_any: Any = np  # numpy's stubs take a scalar's class for no maker of arrays


PROGRAMS = programs()
# For what TF Serving lacks, or is known to do in another way.
ours_only = pytest.mark.parametrize("shop", ["benison-model-server"], indirect=True)


@pytest.fixture(scope="module", params=PROGRAMS)
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]
) -> Iterator[Server]:
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
        program=PROGRAMS[request.param],
    ) as server:
        # The ports open with a model's first version.
        wait_until(lambda: server.states("m") == {"1": "AVAILABLE", "2": "AVAILABLE"})
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
        ("GET", "/other", 404),
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


@pytest.mark.system
def test_curl_speaks_with_it_a_large_body_too(shop: Server, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text(json.dumps({"instances": [0.5] * 400_000}))  # above curl's Expect: 100-continue
    url = f"http://127.0.0.1:{shop.rest}/v1/models/m:predict"
    done = subprocess.run(["curl", "-sS", url, "-d", f"@{tmp_path / 'body.json'}"], capture_output=True, check=True)
    assert json.loads(done.stdout)["predictions"] == [2.25] * 400_000


def test_pipelined_requests_are_answered_in_their_order(shop: Server) -> None:
    def request(value: int) -> bytes:
        body = json.dumps({"instances": [value]}).encode()
        return b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
            len(body),
            body,
        )

    with socket.create_connection(("127.0.0.1", shop.rest)) as connection:
        connection.sendall(b"".join(request(2 * n) for n in range(40)))
        received = b""
        while received.count(b"predictions") < 40:
            received += connection.recv(65536)
    assert [f"[{n + 2.0}]" in part for n, part in enumerate(received.decode().split('"predictions":')[1:])] == [
        True
    ] * 40


@ours_only
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


@pytest.mark.parametrize(
    ("signature", "rows", "expected"),
    [
        ("centred", lambda n: [10.0 * n, 10.0 * n + 2.0], lambda n: [-1.0, 1.0]),
        ("scaled", lambda n: [500.0 * n], lambda n: [n / max(2, n)]),
        ("words", lambda n: [" ".join(["long"] + ["a"] * n)], lambda n: [(4 + n) / (1 + n)]),
    ],
)
def test_requests_whose_rows_would_change_each_other_do_not_share_a_run(
    shop: Server, signature: str, rows: Any, expected: Any
) -> None:
    answers: dict[int, Any] = {}

    def ask(n: int) -> None:
        answers[n] = shop.post("m:predict", {"signature_name": signature, "instances": rows(n)})

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(24)]
    shop_busy = threading.Thread(target=lambda: shop.post("m:predict", {"signature_name": "slow", "instances": [3000]}))
    for thread in [shop_busy, *threads]:
        thread.start()
    for thread in [shop_busy, *threads]:
        thread.join()
    for n, (status, answer) in answers.items():
        assert (status, answer["predictions"]) == (200, pytest.approx(expected(n), rel=1e-5))


@ours_only
def test_known_flags_without_effect_give_one_warning(shop: Server) -> None:
    assert shop.log.read_text().count("--rest_api_num_threads has no effect") == 1


# --- gRPC, by the stubs of tensorflow-serving-api ---------------------------------------------------------------------


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
        (huge, "INVALID_ARGUMENT", "is too large for a message"),
        (lambda: filtered("no"), "INVALID_ARGUMENT", "output tensor alias not found in signature: no"),
        (lambda: filtered("y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    ],
)  # fmt: skip
def test_predict_refuses_as_tf_serving(stub: Any, make: Any, code: str, message: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(make(), timeout=30)
    assert error.value.code().name == code
    assert message in error.value.details()


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


def test_flags_of_the_grpc_answers_are_honoured(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "m", 1)
    flags = (
        "--enable_serialization_as_tensor_content",
        "--enable_signature_method_name_check",
        "--grpc_channel_arguments=grpc.max_receive_message_length=1000,grpc.primary_user_agent=any",
    )
    with running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m", *flags) as server:
        with server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30).outputs["y"]
            assert (answer.tensor_content, list(answer.float_val)) == (np_any.float32([1.5]).tobytes(), [])
            with pytest.raises(grpc.RpcError, match="RESOURCE_EXHAUSTED"):
                stub.Predict(predict_request({"x": np.zeros(1000, np.float32)}), timeout=30)
        code, refused = server.post("m:classify", {"signature_name": "regress", "examples": [{"x": 1.0}]})
        assert code == 400
        assert "method_name to be tensorflow/serving/classify. Was: tensorflow/serving/regress" in refused["error"]


def test_the_unix_socket_answers(shop: Server) -> None:
    with grpc.insecure_channel(f"unix:{shop.log.parent / 'socket'}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        assert stub.Predict(predict_request({"x": np_any.float32([1])}), timeout=30).outputs["y"].float_val[0] == 2.5


# --- grpcurl ----------------------------------------------------------------------------------------------------------


def write_protoset(file: Path) -> None:
    """Write the service's descriptors for grpcurl, because TF Serving has no reflection."""
    described = descriptor_pb2.FileDescriptorSet()
    waiting, seen = [predict_pb2.DESCRIPTOR], set()
    while waiting:
        if (proto := waiting.pop()).name not in seen:
            seen.add(proto.name)
            proto.CopyToProto(described.file.add())
            waiting += proto.dependencies
    # The package's own module of the service cannot be imported with a fast protobuf.
    own = described.file.add(
        name="service.proto", package="tensorflow.serving", dependency=[predict_pb2.DESCRIPTOR.name]
    )
    predict = own.service.add(name="PredictionService").method.add(name="Predict")
    predict.input_type, predict.output_type = (f".tensorflow.serving.Predict{part}" for part in ("Request", "Response"))
    file.write_bytes(described.SerializeToString())


@pytest.mark.system
def test_grpcurl_speaks_with_it(shop: Server, tmp_path: Path) -> None:
    grpcurl = shutil.which("grpcurl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if grpcurl is None:
        pytest.skip("no grpcurl: make system-deps")
    write_protoset(tmp_path / "protoset")
    tensor = {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": 2}]}, "float_val": [1, 2]}
    ask = {"model_spec": {"name": "m", "version_label": "stable"}, "inputs": {"x": tensor}}
    command = [grpcurl, "-plaintext", "-protoset", str(tmp_path / "protoset"), "-d", json.dumps(ask)]
    method = "tensorflow.serving.PredictionService/Predict"
    done = subprocess.run([*command, f"127.0.0.1:{shop.port}", method], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "model_spec": {"name": "m", "version": "1", "signature_name": "serving_default"},
        "outputs": {"y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "2"}]}, "float_val": [1.5, 2]}},
    }


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


# --- the version that answered ----------------------------------------------------------------------------------------


@ours_only
@pytest.mark.parametrize(("where", "version"), [("", 2), ("/versions/1", 1), ("/labels/stable", 1)])
def test_every_rest_answer_names_its_version(shop: Server, where: str, version: int) -> None:
    requests: dict[str, Any] = {
        ":predict": {"instances": [1.0]},  # inline
        ":predict ": {"inputs": [1.0]},
        ":classify": {"signature_name": "classify", "examples": [{"x": 0.25}]},
        ":regress": {"signature_name": "regress", "examples": [{"x": 1.0}]},
        "/metadata": None,
    }
    for path, body in requests.items():
        url = f"http://127.0.0.1:{shop.rest}/v1/models/m{where}{path.strip()}"
        with urllib.request.urlopen(url, None if body is None else json.dumps(body).encode()) as answer:
            assert answer.headers.get_all("x-benison-version") == [f"m/{version}"], path


@ours_only
def test_every_grpc_answer_names_its_version(shop: Server, stub: Any) -> None:
    predict, metadata = predict_request({"x": np.ones(1, np.float32)}), get_model_metadata_pb2.GetModelMetadataRequest()
    metadata.metadata_field.append("signature_def")
    classify = classification_pb2.ClassificationRequest()
    classify.input.example_list.examples.append(example(x=0.25))
    several = inference_pb2.MultiInferenceRequest(input=classify.input)
    several.tasks.add(method_name="tensorflow/serving/classify").model_spec.signature_name = "classify"
    classify.model_spec.signature_name = "classify"
    calls = {"Predict": predict, "GetModelMetadata": metadata, "Classify": classify, "MultiInference": several}
    for method, request in calls.items():
        for spec in [task.model_spec for task in request.tasks] if request is several else [request.model_spec]:
            spec.name, spec.version_label = "m", "stable"
        _, call = getattr(stub, method).with_call(request, timeout=30)
        assert dict(call.trailing_metadata())["x-benison-version"] == "m/1", method


@ours_only
def test_the_clients_tell_the_version_of_an_answer(shop: Server) -> None:
    async def versions() -> tuple[str, str]:
        async with RestClient(port=shop.rest) as rest, GrpcClient(f"127.0.0.1:{shop.port}") as grpc_client:
            one = await rest.answer("m", instances=[1.0], label="stable")
            two = await grpc_client.answer("m", {"x": np.ones(1, np.float32)})
        assert one.predictions == [1.5]
        return one.version, two.version

    assert asyncio.run(versions()) == ("m/1", "m/2")


def test_the_version_has_its_pipelines_name_under_any_other(made: dict[int, Path], tmp_path: Path) -> None:
    publish(made[1], tmp_path / "base", 4)
    (tmp_path / "base" / "4" / "manifest.json").write_text('{"name": "Zug & Ü"}')
    flags = (f"--model_base_path={tmp_path / 'base'}", "--model_name=alias")
    with running(tmp_path, *flags, environment={"BENISON_VERIFY": "off"}) as server:
        url = f"http://127.0.0.1:{server.rest}/v1/models/alias:predict"
        with urllib.request.urlopen(url, b'{"instances": [1.0]}') as answer:
            assert answer.headers["x-benison-version"] == "Zug%20%26%20%C3%9C/4"
