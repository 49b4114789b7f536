"""The model server as a process under test: small models, a server of them, and what its clients need."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from benison.serving.client import GrpcClient

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
        words = tf.strings.split(s).to_tensor(shape=[None, None])  # as wide as the longest text
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
            "mixed": _signature({"s": s, "i": i}, {"text": tf.identity(s), "i": i + 1}),
            "cut": _signature({"s": s, "i": i}, {"i": i[:20] - tf.reduce_min(i), "length": tf.strings.length(s)[:20]}),
            "strings": _signature({"s": s}, {"s_bytes": tf.identity(s)}),
            "total": _signature({"x": x}, {"total": tf.reduce_sum(x)}),
            "centred": _signature({"x": x}, {"c": x - tf.reduce_mean(x)}),
            "scaled": _signature({"x": x}, {"y": x / tf.maximum(1000.0, tf.reduce_max(x))}),
            "words": _signature({"s": s}, {"y": tf.reduce_mean(tf.cast(tf.strings.length(words), tf.float32), 1)}),
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


def write_declared_as_float(folder: Path) -> None:
    """A SavedModel as TF Serving's half_plus_three: its input is tf.Examples, declared as numbers; its output a reference."""
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], "tf_example")
        x = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        three = v1.get_variable("three", initializer=3.0, use_resource=False)
        regress = _signature({"inputs": examples}, {"outputs": x * 0.5 + three}, "regress")
        regress.inputs["inputs"].dtype = tf.float32.as_datatype_enum
        signatures = {"regress": regress, "three": _signature({"inputs": examples}, {"three": three})}
        signatures["three"].outputs["three"].dtype = three.dtype.as_datatype_enum
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def write_layers(folder: Path, count: int, width: int, repeats: int = 1) -> Path:
    """A SavedModel whose run costs by the row, and whose load costs by the layer: y = x / 2 + 1 after that work."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        hidden = x[:, None] * tf.ones([1, width])
        for layer in range(count):
            weights = v1.get_variable(f"weights{layer}", [width, width], initializer=v1.zeros_initializer())
            for _ in range(repeats):
                hidden = tf.tanh(hidden @ weights)
        y = x * 0.5 + 1.0 + tf.reduce_sum(hidden, 1)
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": _signature({"x": x}, {"y": y})})
        builder.save()
    return folder


def write_ensemble(folder: Path, members: int, layers: int) -> Path:
    """A SavedModel as TensorFlow 2 writes one: functions that call functions, a signature for each member and for all."""

    class Member(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = [tf.Variable(tf.eye(16)) for _ in range(layers)]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> dict[str, Any]:
            hidden = x[:, None] * tf.ones([1, 16])
            for weights in self.weights:
                hidden = tf.nn.relu(hidden @ weights)
            return {"y": hidden[:, 0]}

    class Ensemble(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = [Member() for _ in range(members)]

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> dict[str, Any]:
            return {"y": tf.add_n([member.run(x)["y"] for member in self.members]) / members}

    made = Ensemble()
    signatures = {"serving_default": made.run, **{f"m{i}": member.run for i, member in enumerate(made.members)}}
    tf.saved_model.save(made, str(folder), signatures=signatures)
    return folder


def publish(made: Path, base: Path, version: int) -> None:
    """Makes a version visible all at once; its files are old, so the server need not wait for the end of a copy."""
    base.mkdir(parents=True, exist_ok=True)
    aside = base / f".{version}"
    shutil.copytree(made, aside, copy_function=os.link)
    for file in aside.rglob("*"):
        os.utime(file, (1e9, 1e9))
    aside.rename(base / str(version))


def write_tflite(folder: Path, *, signed: bool = True) -> None:
    """Write a model y = 3 x; without a signature, its output is the tensor `Identity`."""

    class Triple(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def run(self, x: Any) -> dict[str, Any]:
            return {"y": x * 3.0}

    triple = Triple()
    functions = [triple.run.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(functions, *([triple] if signed else []))
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(converter.convert())


def write_old_tflite(folder: Path) -> None:
    """Write the model with its SignatureDef in the metadata, as converters before TensorFlow 2.5 did."""
    import flatbuffers
    from flatbuffers import flexbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    write_tflite(folder, signed=False)
    file = folder / "model.tflite"
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(file.read_bytes(), 0))
    signature = tf.compat.v1.saved_model.build_signature_def(
        {"number": meta_graph_pb2.TensorInfo(name="x:0")}, {"triple": meta_graph_pb2.TensorInfo(name="Identity:0")}
    )
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Key("serving_default")
        builder.String(signature.SerializeToString().decode())
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(builder.Finish())
    entry.name, entry.buffer = "signature_defs_metadata", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)
    packed = flatbuffers.Builder(1024)
    packed.Finish(model.Pack(packed), b"TFL3")
    file.write_bytes(packed.Output())


# --- the server -------------------------------------------------------------------------------------------------------


OURS = (sys.executable, "-c", "from benison.serving.server.main import main; main()")


def programs() -> dict[str, tuple[str, ...]]:
    """The servers that the protocol's tests are run against, by name: ours, and TF Serving's where there is one."""
    named = os.environ.get("BENISON_TF_SERVING", "")
    found = shutil.which(named or "tensorflow_model_server")
    if named and not found:
        raise FileNotFoundError(f"BENISON_TF_SERVING={named}: no such program")
    return {"benison-model-server": OURS, **({"tensorflow_model_server": (found,)} if found else {})}


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

    def memory(self) -> float:
        """Return the server's resident memory (MB)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def running(
    folder: Path,
    *flags: str,
    environment: dict[str, str] | None = None,
    core: int = -1,
    program: Sequence[str] = OURS,
) -> Iterator[Server]:
    """A server until the end of the block; its ports are open when the block begins."""
    server = start(folder, *flags, environment=environment, core=core, program=program)
    try:
        wait_until(lambda: server.process.poll() is not None or "Exporting HTTP/REST API" in server.log.read_text(), 60)
        assert server.process.poll() is None, server.log.read_text()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def start(
    folder: Path,
    *flags: str,
    environment: dict[str, str] | None = None,
    core: int = -1,
    program: Sequence[str] = OURS,
    log_descriptor: int = -1,
) -> Server:
    """A server that may not be up yet.

    Args:
        folder: for its log.
        flags: beside those of the ports.
        environment: of Benison's own settings.
        core: the only one that it may run on; -1: any.
        program: the command's first words.
        log_descriptor: of the log instead of a file in the folder.
    """
    port, rest = free_port(), free_port()
    log = folder / f"server-{port}.log"
    pin = f"import os, sys; os.sched_setaffinity(0, {{{core}}}); os.execv(sys.argv[1], sys.argv[1:])"
    command = [*((sys.executable, "-c", pin) if core >= 0 else ()), *program]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"--port={port}", f"--rest_api_port={rest}", *flags],
            stdout=output if log_descriptor < 0 else log_descriptor,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
        )
    return Server(process, port, rest, log)


def signatures_alone(version: Path) -> dict[str, str]:
    """The signatures of a SavedModel whose requests do not share runs, and why."""
    from benison.serving.server.batching import sharing
    from benison.serving.server.engine import LoadOptions
    from benison.serving.server.engines.saved_model import SessionEngine

    engine = SessionEngine(str(version), LoadOptions())
    try:
        return sharing.decide(engine, str(version), sharing.SharingPolicy(), {}, version.name).alone
    finally:
        engine.close()


class Load:
    """A load generator that runs; see load_generator.Plan for what it can be told."""

    def __init__(self, server: Server, path: str = "", body: str = "[0, 2]", **plan: Any) -> None:
        """Begins.

        Args:
            server: to ask.
            path: of REST, such as `m:predict`; empty for gRPC.
            body: the `instances` or, with gRPC, x.
            plan: connections, rate, seconds, core.
        """
        if path:
            plan |= {"port": server.rest, "path": f"/v1/models/{path}", "body": f'{{"instances": {body}}}'}
        else:
            plan |= {"port": server.port, "path": "", "body": body}
        program = Path(__file__).with_name("load_generator.py")
        self._process = subprocess.Popen(
            [sys.executable, program, json.dumps(plan)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begun(self) -> None:
        """Waits for the first answer."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def seen(self) -> dict[str, Any]:
        """Ends it, if it did not end by itself; what it reports."""
        output, _ = self._process.communicate("over\n", timeout=120)
        return dict(json.loads(output.splitlines()[-1]))

    def finished(self) -> dict[str, Any]:
        """Wait for the end of the run and return its report."""
        self._process.wait(300)
        return self.seen()


@contextlib.contextmanager
def under_load(server: Server, *paths: str, **plan: Any) -> Iterator[list[dict[str, Any]]]:
    """Load on several paths until the end of the block; then their reports are in the list."""
    reports: list[dict[str, Any]] = []
    loads = [Load(server, path, **plan) for path in paths]
    for load in loads:
        load.begun()
    try:
        yield reports
    finally:
        reports += [load.seen() for load in loads]


def config(models: Sequence[str]) -> str:
    return "model_config_list {\n" + "\n".join(f"  config {{ {model} }}" for model in models) + "\n}\n"


def entry(name: str, base: Path, more: str = "") -> str:
    return f'name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more}'


# --- what is asked and configured -------------------------------------------------------------------------------------


def predict_request(inputs: dict[str, Any], signature: str = "", model: str = "m") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def example(**features: float) -> Any:
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def specific(*versions: int, **labels: int) -> str:
    chosen = " ".join(f"versions: {version}" for version in versions)
    given = " ".join(f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items())
    return f"model_version_policy {{ specific {{ {chosen} }} }} {given}"


def reload(server: Server, text: str, token: str = "") -> None:
    async def ask() -> None:
        async with GrpcClient(f"127.0.0.1:{server.port}") as client:
            await client.reload(text, token=token)

    asyncio.run(ask())


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


def write_certificates(folder: Path) -> None:
    """ca.pem, and server.key/.pem and client.key/.pem signed by it, for 127.0.0.1."""
    authority, ca_key = _certificate("ca", None, None)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    for name in ("server", "client"):
        made, key = _certificate(name, authority, ca_key)
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _certificate(
    name: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for two days, signed by the issuer or, without one, by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(issuer_key or key, hashes.SHA256()), key


def tls(folder: Path, client_verify: bool) -> str:
    """The text of an --ssl_config_file for these certificates."""
    pem = {name: json.dumps((folder / name).read_text()) for name in ("server.key", "server.pem", "ca.pem")}
    text = f"server_key: {pem['server.key']} server_cert: {pem['server.pem']}"
    return text + (f" custom_ca: {pem['ca.pem']} client_verify: true" if client_verify else "")
