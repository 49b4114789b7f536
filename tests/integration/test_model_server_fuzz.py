"""Requests that no client would send on purpose: whatever comes, the server says what is wrong with it and goes on.

The kinds of requests share a number: 2,000 by default, 100,000 with `-m soak`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from tests.integration.model_server import Server, predict_request, publish, running

soak = pytest.mark.soak
# None that runs as long as a client asks it to.
SIGNATURES = ("", "types", "strings", "total", "centred", "bytes", "half", "ratio", "classify", "regress")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzzed")
    publish(made[1], folder / "m", 1)
    with running(
        folder, f"--model_base_path={folder / 'm'}", "--model_name=m", "--enable_grpc_healthcheck_service"
    ) as it:
        yield it


def every(count: int, server: Server, strategy: st.SearchStrategy[Any], ask: Callable[[Any], None]) -> None:
    """Asks so many times, and looks at the server afterwards."""

    def times(number: int) -> None:
        """The few of the default run are always the same."""
        decorate = settings(
            max_examples=number,
            deadline=None,
            database=None,
            derandomize=count < 1000,
            suppress_health_check=list(HealthCheck),
        )
        decorate(given(strategy)(ask))()

    times(count // 5)
    before = server.memory()
    times(count - count // 5)
    after = server.memory()
    assert server.process.poll() is None
    log = server.log.read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
    assert server.post("m:predict", {"instances": [0.0]}) == (200, {"predictions": [1.0]})
    print(f"{before:.0f} MB after the first fifth, {after:.0f} MB at the end")
    if count >= 1000:
        assert after <= 1.1 * before


# --- JSON -------------------------------------------------------------------------------------------------------------

TEXTS = st.text() | st.sampled_from(["x", "b64", "inputs", "instances", "\ud800", "\x00", "é" * 300, "NaN", "1"])
NUMBERS = st.sampled_from(
    ["NaN", "Inf", "-Infinity", "1e400", "-1e400", "1" * 400, "-" + "9" * 5000, "0.1e-9999", "-0", "01", "1.", "2e5"]
)


class Raw(float):
    """A number that is written as its text."""

    def __new__(cls, text: str) -> Raw:
        made = super().__new__(cls, 0)
        made.text = text
        return made

    text: str

    def __repr__(self) -> str:
        return self.text


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | NUMBERS.map(Raw)
    | st.sampled_from(["!", "A", "AA=A", "_-8", "é"]).map(lambda text: {"b64": text})
    | st.binary(max_size=30).map(lambda raw: {"b64": base64.b64encode(raw).decode()})
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
ROW = {"s": "a", "i": 1, "f": [1.0, 2.0], "b": True}
GOOD: list[dict[str, Any]] = [
    {"instances": [1.0, 2.0]},
    {"inputs": {"x": [1.0]}},
    {"instances": [ROW, ROW], "signature_name": "types"},
    {"inputs": {name: [value] for name, value in ROW.items()}, "signature_name": "types"},
    {"instances": [{"b64": "YQ=="}], "signature_name": "strings"},
    {"examples": [{"x": 1.0}, {"x": [2.0]}], "context": {"x": 1.0}, "signature_name": "classify"},
    {"examples": [{"x": 1.0}], "signature_name": "regress"},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all parts of a value that can be replaced."""
    yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], by)
    return copy


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A good request of which one part is another value; or any value."""
    good = draw(st.sampled_from(GOOD) | VALUES)
    value = replaced(good, draw(st.sampled_from(list(places(good)))), draw(VALUES)) if draw(st.booleans()) else good
    if isinstance(value, dict) and draw(st.integers(0, 3)) == 0:
        value = value | {"signature_name": draw(st.sampled_from(SIGNATURES) | VALUES)}
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def broken(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of which some are missing, twice there or others."""
    data = draw(whole)
    start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    return data[:start] + draw(st.binary(max_size=4) | st.just(data[start:end] * 2)) + data[end:]


def nested(depth: int, opening: str, closing: str) -> bytes:
    return f'{{"instances": {opening * depth}1{closing * depth}}}'.encode()


BODIES = (
    documents()
    | broken(documents())
    | st.binary(max_size=50)
    | st.builds(nested, st.sampled_from([1, 5, 33, 65, 1000, 100_000]), st.sampled_from(["[", '{"x":']), st.sampled_from(["]", "}", ""]))
)  # fmt: skip
PLACES = st.sampled_from(
    ["m", "m/versions/1", "m/versions/9", "m/labels/é", "none", "..", "%2e%2e%2f", "m" * 300, "%00"]
)
HEADERS = st.sampled_from([{}, {}, {}, {"Content-Encoding": "gzip"}, {"Content-Type": "\xff"}, {"Expect": "tea"}])


@pytest.mark.parametrize("count", [800, pytest.param(45_000, marks=[soak, pytest.mark.timeout(3600)])])
def test_any_body_gets_an_answer(server: Server, count: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=60)

    def ask(drawn: tuple[str, str, bytes, dict[str, str]]) -> None:
        place, verb, body, headers = drawn
        path = f"/v1/models/{quote(place, safe='/.%')}:{verb}"
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        assert response.status in (200, 400, 404, 413, 503) or (
            response.status == 501 and b"Conversion of JSON" in answer  # a type that has no JSON, as with TF Serving
        ), answer
        assert response.status == 200 or list(json.loads(answer)) == ["error"]
        assert b"Traceback" not in answer
        assert not re.search(rb'\.py"?,? line', answer)

    verbs = st.sampled_from(["predict", "predict", "predict", "classify", "regress"])
    with contextlib.closing(connection):
        every(count, server, st.tuples(st.just("m") | PLACES, verbs, BODIES, HEADERS), ask)


# --- HTTP -------------------------------------------------------------------------------------------------------------

LINES = st.sampled_from(["POST", "GET", "PUT", "PRI", "CONNECT", "get", "\0", ""]).flatmap(
    lambda method: st.sampled_from(["/v1/models/m:predict", "/v1/models/m", "*", "http://x/v1/models/m", "//", "/%", ""]).flatmap(
        lambda path: st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "", "HTTP/1.1 "]).map(
            lambda version: f"{method} {path} {version}"
        )
    )
)  # fmt: skip
FIELDS = st.sampled_from(
    [
        "Host: localhost", "Content-Length: 20", "Content-Length: 0", "Content-Length: -1", "Content-Length: 99999999999999999999",
        "Content-Length: +20", "Content-Length: 20, 20", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity", "Connection: close", "Connection: upgrade", "Upgrade: h2c", "Expect: 100-continue",
        "Content-Encoding: gzip", ": nameless", "X" * 5000 + ": y", "X: " + "y" * 70_000, "X:\x00", " folded", "no colon",
    ]
)  # fmt: skip
CHUNKS = st.sampled_from(
    [b'14\r\n{"instances": [1.0]}\r\n', b"0\r\n\r\n", b"fffffffff\r\n", b"-1\r\n", b"zz\r\n", b"5;ext=1\r\nabc", b'{"instances": [1.0]}']
)  # fmt: skip
MESSAGES = st.builds(
    lambda line, fields, chunks, ending: ending.join([line, *fields, "", ""]).encode("latin-1") + b"".join(chunks),
    LINES,
    st.lists(FIELDS, max_size=4),
    st.lists(CHUNKS | st.binary(max_size=20), max_size=4),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"]),
)


AT_ONCE = 10
GOODBYE = b"\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"  # what was whole is answered, and then it is over


@pytest.fixture
def impatient(tmp_path: Path, made: dict[int, Path]) -> Iterator[Server]:
    """A server that does not wait for long for the rest of a request."""
    publish(made[1], tmp_path / "m", 1)
    environment = {"BENISON_SLOW_CLIENT_SECONDS": "0.5"}
    with running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m", environment=environment) as it:
        yield it


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=[soak, pytest.mark.timeout(3600)])])
def test_any_http_gets_an_answer_or_none(impatient: Server, count: int) -> None:
    def talk(client: socket.socket, message: bytes) -> None:
        with contextlib.suppress(OSError):  # the server may have hung up before everything was sent
            client.sendall(message + GOODBYE)

    def heard(client: socket.socket) -> bytes:
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := client.recv(65536):
                received += data
        return received

    def ask(messages: list[bytes]) -> None:
        with contextlib.ExitStack() as stack:
            address = ("127.0.0.1", impatient.rest)
            clients = [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in messages]
            for client, message in zip(clients, messages, strict=True):
                talk(client, message)
            for received in map(heard, clients):
                statuses = re.findall(rb"^HTTP/1\.1 (\d+)", received, re.MULTILINE)
                assert not received or statuses
                assert not {status for status in statuses if status.startswith(b"5")}, received

    messages = st.lists(MESSAGES | broken(MESSAGES), min_size=AT_ONCE, max_size=AT_ONCE)
    every(count // AT_ONCE, impatient, messages, ask)


# --- gRPC -------------------------------------------------------------------------------------------------------------

DTYPES = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 19, 20, 21, 22, 23]) | st.integers(-5, 200)
SIZES = st.integers(-2, 4) | st.sampled_from([2**31, 2**62, 2**63 - 1, -(2**63), 65536])
NAMES = st.text(st.characters(codec="utf-8"), max_size=10)
INTS, FLOATS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4), st.lists(st.floats(width=32), max_size=4)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A TensorProto of any type, shape and fields."""
    proto = tf.make_tensor_proto(draw(st.sampled_from([[1.0, 2.0], [b"a"], [1], [[1.0, 2.0]], [True], 3.0])))
    for change in draw(st.lists(st.integers(0, 7), max_size=3)):
        if change == 0:
            proto.dtype = draw(DTYPES)
        elif change == 1:
            proto.tensor_content = draw(st.binary(max_size=40))
        elif change == 2:
            proto.float_val.extend(draw(FLOATS))
        elif change == 3:
            proto.int_val.extend(draw(INTS))
        elif change == 4:
            proto.string_val.extend(draw(st.lists(st.binary(max_size=9), max_size=4)))
        elif change == 5:
            proto.tensor_shape.unknown_rank = draw(st.booleans())
        else:
            del proto.tensor_shape.dim[:]
            for size in draw(st.lists(SIZES, max_size=3) | st.just([1] * 300)):
                proto.tensor_shape.dim.add(size=size)
    return proto


@st.composite
def examples(draw: st.DrawFn) -> Any:
    """A tf.Example with features of any type."""
    made = tf.train.Example()
    for name in draw(st.lists(st.just("x") | NAMES, max_size=2)):
        feature = made.features.feature[name]
        kind = draw(st.integers(0, 3))
        if kind == 0:
            feature.float_list.value.extend(draw(FLOATS))
        elif kind == 1:
            feature.int64_list.value.extend(draw(INTS))
        elif kind == 2:
            feature.bytes_list.value.extend(draw(st.lists(st.binary(max_size=9), max_size=3)))
    return made


def fill(draw: st.DrawFn, spec: Any) -> None:
    spec.name = draw(st.sampled_from(["m", "m", "m", "", "none"]) | NAMES)
    spec.signature_name = draw(st.sampled_from(SIGNATURES) | NAMES)
    choice = draw(st.integers(0, 5))
    if choice == 0:
        spec.version.value = draw(st.sampled_from([0, 1, 2, -1, 2**63 - 1]))
    elif choice == 1:
        spec.version_label = draw(NAMES)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, bytes]:
    """A method and a message for it, or bytes that are none."""
    name = draw(
        st.sampled_from(
            ["Predict"] * 6 + ["Classify", "Regress", "MultiInference", "GetModelMetadata", "GetModelStatus", "Check"]
        )
    )
    service, request = "tensorflow.serving.PredictionService", None
    if name == "Predict":
        request = predict_request({}) if draw(st.booleans()) else predict_pb2.PredictRequest()
        fill(draw, request.model_spec)
        for alias in draw(st.lists(st.sampled_from(["x", "s", "i", "f", "b", "inputs"]) | NAMES, max_size=4)):
            request.inputs[alias].CopyFrom(draw(tensors()))
        request.output_filter.extend(draw(st.lists(st.just("y") | NAMES, max_size=2)))
    elif name in ("Classify", "Regress"):
        kind = classification_pb2.ClassificationRequest if name == "Classify" else regression_pb2.RegressionRequest
        request = kind()
        fill(draw, request.model_spec)
        request.input.example_list.examples.extend(draw(st.lists(examples(), max_size=3)))
        if draw(st.booleans()):
            request.input.example_list_with_context.context.CopyFrom(draw(examples()))
            request.input.example_list_with_context.examples.extend(draw(st.lists(examples(), max_size=3)))
    elif name == "MultiInference":
        request = inference_pb2.MultiInferenceRequest()
        request.input.example_list.examples.extend(draw(st.lists(examples(), max_size=3)))
        for _ in range(draw(st.integers(0, 3))):
            methods = st.sampled_from(["tensorflow/serving/classify", "tensorflow/serving/regress"]) | NAMES
            fill(draw, request.tasks.add(method_name=draw(methods)).model_spec)
    elif name == "GetModelMetadata":
        request = get_model_metadata_pb2.GetModelMetadataRequest()
        request.metadata_field.extend(draw(st.lists(st.just("signature_def") | NAMES, max_size=2)))
        fill(draw, request.model_spec)
    elif name == "GetModelStatus":
        service, request = "tensorflow.serving.ModelService", get_model_status_pb2.GetModelStatusRequest()
        fill(draw, request.model_spec)
    else:
        service, request = "grpc.health.v1.Health", None
    message = st.just(request.SerializeToString()) if request is not None else st.binary(max_size=20)
    return f"/{service}/{name}", draw(message | broken(message) if draw(st.booleans()) else message)


@pytest.mark.parametrize("count", [800, pytest.param(45_000, marks=[soak, pytest.mark.timeout(3600)])])
def test_any_message_gets_an_answer(server: Server, count: int) -> None:
    with server.channel() as channel:

        def ask(call: tuple[str, bytes]) -> None:
            method, message = call
            try:
                channel.unary_unary(method)(message, timeout=60)
            except grpc.RpcError as error:
                refused: Any = error  # an RpcError of a call has its code and details
                assert refused.code().name in (
                    "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "UNAVAILABLE",
                ), refused  # fmt: skip
                assert "Traceback" not in refused.details()

        every(count, server, calls(), ask)
