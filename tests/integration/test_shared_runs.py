"""Requests of many clients at once get the answers that each gets alone, and a model with state has one run per request."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.integration.model_server import Server, config, entry, running, signatures_alone, write_declared_as_float

AT_A_TIME = 50
WORDS = ["the", "dog", "cat", "was", "very", "good", "bad", "and", "slow", "quick"]

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns about NumPy's and TensorFlow's copies of arrays


class Functions(tf.Module):
    """Signatures whose answers to a row depend on other rows, or on the requests before."""

    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def scaled(self, x: Any) -> dict[str, Any]:
        return {"y": x / tf.maximum(1000.0, tf.reduce_max(x))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="x")])
    def scaled_whole(self, x: Any) -> dict[str, Any]:
        return {
            "y": tf.cast(x, tf.float32) / tf.cast(tf.maximum(tf.constant(1000, tf.int64), tf.reduce_max(x)), tf.float32)
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def counted(self, x: Any) -> dict[str, Any]:
        return {"y": 0 * x + self.count.assign_add(1.0)}


def _text_model() -> Any:
    """Return a model that pads the texts of a batch to the longest."""
    keras.utils.set_random_seed(1)
    texts = keras.layers.TextVectorization(vocabulary=WORDS)
    inputs = keras.Input(shape=(), dtype="string", name="text")
    words = keras.layers.Embedding(len(WORDS) + 2, 4, embeddings_initializer="random_normal")(texts(inputs))
    hidden = keras.layers.GlobalAveragePooling1D()(words)
    return keras.Model(inputs, keras.layers.Dense(1, bias_initializer="ones", name="y")(hidden))


def _layers() -> Any:
    inputs = keras.Input(shape=(8,), name="x")
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(16, activation="relu")(inputs))
    hidden = keras.layers.LayerNormalization()(keras.layers.Dense(16, activation="gelu")(hidden))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(keras.layers.Dropout(0.2)(hidden)))


def _pictures() -> Any:
    """Return a small residual network."""
    inputs = keras.Input(shape=(32, 32, 3), name="picture")
    hidden = keras.layers.Rescaling(1 / 255)(inputs)
    hidden = keras.layers.Conv2D(8, 7, strides=2, padding="same", use_bias=False)(hidden)
    hidden = keras.layers.ReLU()(keras.layers.BatchNormalization()(hidden))
    hidden = keras.layers.MaxPooling2D(3, strides=2, padding="same")(keras.layers.ZeroPadding2D(1)(hidden))
    for stride in (1, 2):
        short = keras.layers.BatchNormalization()(keras.layers.Conv2D(8, 1, strides=stride)(hidden))
        hidden = keras.layers.Conv2D(8, 3, strides=stride, padding="same", activation="relu")(hidden)
        hidden = keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, padding="same")(hidden))
        hidden = keras.layers.ReLU()(keras.layers.Add()([hidden, short]))
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(hidden)))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the base paths."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in {"text": _text_model, "layers": _layers, "pictures": _pictures}.items():
        make().export(str(folder / name / "1"), format="tf_saved_model", verbose=False)
    functions = Functions()
    names = ("scaled", "scaled_whole", "counted")
    tf.saved_model.save(functions, str(folder / "functions/1"), {name: getattr(functions, name) for name in names})
    write_declared_as_float(folder / "declared/1")
    return folder


def served(models: Path, folder: Path, *flags: str, **environment: str) -> Any:
    names = ("text", "functions", "declared")
    (folder / "models.config").write_text(config([entry(name, models / name) for name in names]))
    return running(folder, f"--model_config_file={folder / 'models.config'}", *flags, environment=environment)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(models, tmp_path_factory.mktemp("server")) as running_server:
        yield running_server


def predictions(server: Server, model: str, signature: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the answers to requests of which many wait at the same time."""

    def ask(instances: Sequence[Any]) -> Any:
        code, answer = server.post(f"{model}:predict", {"signature_name": signature, "instances": instances})
        assert code == 200, answer
        return answer["predictions"]

    with ThreadPoolExecutor(AT_A_TIME) as clients:
        return list(clients.map(ask, rows))


def _text(number: int) -> str:
    return " ".join(WORDS[(number * 7 + place) % len(WORDS)] for place in range(1 + number % 23))


FAULTS: Mapping[str, tuple[str, str, Callable[[int], Any], Callable[[Any], Any]]] = {
    "scaled": ("functions", "scaled", lambda n: float(n * 37 % 9000), lambda x: x / max(1000.0, x)),
    "scaled whole numbers": ("functions", "scaled_whole", lambda n: n * 37 % 9000, lambda x: x / max(1000, x)),
}


def _assert_own_answers(server: Server, models: Path, count: int) -> None:
    for model, signature, row, answer in FAULTS.values():
        rows = [1] * (count // 3) + [row(n) for n in range(count)]
        found = predictions(server, model, signature, [[x] for x in rows])
        np.testing.assert_allclose([y for (y,) in found], [answer(x) for x in rows], rtol=1e-5)
    texts = [_text(0)] * (count // 3) + [_text(n) for n in range(count)]
    run = tf.saved_model.load(str(models / "text/1")).signatures["serving_default"]
    alone = {text: next(iter(run(tf.constant([text])).values())).numpy()[0] for text in set(texts)}
    found = predictions(server, "text", "serving_default", [[text] for text in texts])
    np.testing.assert_allclose([y for (y,) in found], [alone[text] for text in texts], rtol=1e-5)


def test_requests_of_many_clients_get_the_answers_that_each_gets_alone(server: Server, models: Path) -> None:
    _assert_own_answers(server, models, 120)


@pytest.mark.soak
def test_many_requests_of_many_clients_get_the_answers_that_each_gets_alone(server: Server, models: Path) -> None:
    _assert_own_answers(server, models, 1000)


@pytest.mark.parametrize("flags", [[], ["--enable_batching"]])
def test_a_model_with_state_has_one_run_per_request(models: Path, tmp_path: Path, flags: list[str]) -> None:
    with served(models, tmp_path, *flags) as fresh:
        assert predictions(fresh, "functions", "counted", [[5.0]]) == [[1.0]]
        found = predictions(fresh, "functions", "counted", [[0.0]] * 200)
        assert sorted(y for (y,) in found) == list(range(2, 202))


def test_the_status_page_tells_what_was_decided_and_why(models: Path, server: Server, tmp_path: Path) -> None:
    def sharing(of: Server) -> Any:
        return of.ask("GET", "/benison/status")[1]["models"]["functions"]["versions"]["1"]["sharing"]

    found = sharing(server)
    assert found["scaled"].startswith("alone: Max ")
    assert found["counted"].startswith("alone: AssignAddVariableOp ")
    with served(models, tmp_path, "--enable_batching") as as_tf_serving:
        asked = sharing(as_tf_serving)
        assert asked["scaled"].startswith("shared: --enable_batching asks for it, although")
        assert asked["counted"] == found["counted"]


def test_requests_for_the_usual_models_share_runs(models: Path, made: dict[int, Path]) -> None:
    assert not signatures_alone(models / "layers/1")
    assert not signatures_alone(models / "pictures/1")
    assert signatures_alone(models / "declared/1").keys() == {"three"}
    assert signatures_alone(made[1]).keys() == {"total", "cut", "centred", "scaled", "words", "slow"}
    assert signatures_alone(models / "text/1").keys() == {"serve", "serving_default"}


def test_an_input_has_the_type_that_the_graph_takes(server: Server) -> None:
    found = server.post("declared:regress", {"signature_name": "regress", "examples": [{"x": 2.0}, {"x": -6.0}]})
    assert found == (200, {"results": [4.0, 0.0]})
    row = {"b64": base64.b64encode(tf.train.Example().SerializeToString()).decode()}
    found = server.post("declared:predict", {"signature_name": "three", "inputs": [row]})
    assert found == (200, {"outputs": 3.0})
