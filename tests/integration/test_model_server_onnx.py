"""The model server runs an ONNX model where a version's folder has no SavedModel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tensorflow_serving.apis import prediction_service_pb2_grpc

from tests.integration.model_server import Server, config, entry, predict_request, running, wait_until

FLOAT, STRING, INT64 = TensorProto.FLOAT, TensorProto.STRING, TensorProto.INT64
ROWS: dict[str, Any] = {"numbers": [[1.0, 2.0], [-3.0, 0.5]], "colour": [["red"], ["é"]]}


def value(name: str, kind: int, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def write_pipeline(folder: Path) -> None:
    """A model as scikit-learn's converter writes it: text and numbers in, a label and a map of probabilities out."""
    ml = {"domain": "ai.onnx.ml"}
    nodes = [
        helper.make_node("OneHotEncoder", ["colour"], ["hot"], cats_strings=["red", "blue"], zeros=1, **ml),
        helper.make_node("Reshape", ["hot", "shape"], ["flat"]),
        helper.make_node("Concat", ["numbers", "flat"], ["all"], axis=1),
        helper.make_node("LinearClassifier", ["all"], ["label", "scores"], coefficients=[0.1, 0.2, 0.3, 0.4, -0.1, -0.2, -0.3, -0.4], intercepts=[0.1, -0.1], classlabels_strings=["yes", "no"], post_transform="SOFTMAX", **ml),
        helper.make_node("ZipMap", ["scores"], ["probabilities"], classlabels_strings=["yes", "no"], **ml),
    ]  # fmt: skip
    inputs = [value("numbers", FLOAT, ["rows", 2]), value("colour", STRING, ["rows", 1])]
    of_map = helper.make_map_type_proto(STRING, helper.make_tensor_type_proto(FLOAT, []))
    outputs = [
        value("label", STRING, ["rows"]),
        helper.make_value_info("probabilities", helper.make_sequence_type_proto(of_map)),
    ]
    save(folder, nodes, inputs, outputs, {"shape": np.array([-1, 2])})


def save(folder: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> None:
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    domains = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    folder.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=8), folder / "model.onnx")


def write_thief(folder: Path, file: Path) -> None:
    """A model whose weights are in a file outside of its folder."""
    inputs, outputs = [value("x", FLOAT, ["rows", 1])], [value("y", FLOAT, ["rows", 1])]
    file.write_bytes(np.ones(1, np.float32).tobytes())
    save(folder, [helper.make_node("MatMul", ["x", "w"], ["y"])], inputs, outputs, {"w": np.ones((1, 1), np.float32)})
    model = onnx.load(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=f"../../../{file.name}")
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    write_pipeline(folder / "models/pipe/1")
    write_thief(folder / "models/thief/1", folder / "secret")
    (folder / "models/broken/1").mkdir(parents=True)
    (folder / "models/broken/1/model.onnx").write_text("no model")
    names = ("pipe", "thief", "broken")
    (folder / "config").write_text(config([entry(name, folder / "models" / name) for name in names]))
    with running(folder, f"--model_config_file={folder / 'config'}", "--max_num_load_retries=0") as server:
        wait_until(lambda: server.states("pipe") == {"1": "AVAILABLE"})
        yield server


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of ONNX Runtime itself: the labels, and the probabilities by class."""
    folder = tmp_path_factory.mktemp("alone") / "1"
    write_pipeline(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    feeds = {"numbers": np.array(ROWS["numbers"], np.float32), "colour": np.array(ROWS["colour"], object)}
    label, probabilities = session.run(None, feeds)
    return {"label": list(label), "probabilities": probabilities}


def test_it_answers_over_rest_as_onnx_runtime_does(server: Server, expected: dict[str, Any]) -> None:
    code, answer = server.post("pipe:predict", {"inputs": ROWS})
    assert code == 200, answer
    outputs = answer["outputs"]
    assert outputs["label"] == expected["label"]
    named = [
        dict(zip(*row, strict=True))
        for row in zip(outputs["probabilities.classes"], outputs["probabilities"], strict=True)
    ]
    assert named == [pytest.approx(row) for row in expected["probabilities"]]
    rows = [{"numbers": n, "colour": c} for n, c in zip(ROWS["numbers"], ROWS["colour"], strict=True)]
    code, answer = server.post("pipe:predict", {"instances": rows})
    assert [row["label"] for row in answer["predictions"]] == expected["label"]
    status = server.ask("GET", "/benison/status")[1]["models"]["pipe"]["versions"]["1"]
    assert status["engine"] == "onnx"


def test_it_answers_over_grpc(server: Server, expected: dict[str, Any]) -> None:
    import tensorflow as tf

    inputs = {
        "numbers": np.array(ROWS["numbers"], np.float32),
        "colour": np.array([[b"red"], ["é".encode()]], object),
    }
    with server.channel() as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(predict_request(inputs, model="pipe"), timeout=60).outputs
    assert [text.decode() for text in tf.make_ndarray(answer["label"])] == expected["label"]
    classes = [text.decode() for text in tf.make_ndarray(answer["probabilities.classes"])[0]]
    values = [[row[name] for name in classes] for row in expected["probabilities"]]
    np.testing.assert_allclose(tf.make_ndarray(answer["probabilities"]), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"numbers": [[1.0, 2.0]]}, "colour"),
        ({**ROWS, "numbers": [[1.0], [2.0]]}, "input numbers: got a tensor of shape [2,1], but the signature declares [?,2]"),
        ({**ROWS, "colour": [["red"]]}, "Concat"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused(inputs: dict[str, Any], message: str, server: Server) -> None:
    code, answer = server.post("pipe:predict", {"inputs": inputs})
    assert (code, message in answer["error"]) == (400, True), answer


@pytest.mark.parametrize("model", ["thief", "broken"])
def test_a_model_that_reads_other_files_or_is_none_does_not_load(model: str, server: Server) -> None:
    wait_until(lambda: server.states(model) == {"1": "END"})
    (state,) = server.ask("GET", f"/v1/models/{model}")[1]["model_version_status"]
    assert state["status"]["error_code"] == "INVALID_ARGUMENT"
    assert f"models/{model}/1: " in state["status"]["error_message"]
