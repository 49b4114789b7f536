"""`benison serve` on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.serving.client import GrpcClient, RestClient, ServerError
from benison.serving.errors import DataError
from benison.serving.missing_values import MISSING_INTEGER
from benison.serving.predict import predict
from benison.serving.promotion import labels
from benison.serving.versions.local import Version
from tests.integration.conftest import BENISON, UNPRIVILEGED, Project
from tests.integration.model_server import config, entry, free_port, publish, specific, wait_until


@dataclass
class Served:
    """A server that `benison serve` started."""

    process: subprocess.Popen[str]
    log: Path
    rest: int
    grpc: int

    def output(self) -> str:
        return self.log.read_text()

    def answer_to_curl_line(self, name: str) -> Any:
        """Send the request of the printed curl line for a model, and return the answer."""
        line = next(
            line for line in self.output().splitlines() if line.startswith("curl ") and f"models/{name}" in line
        )
        _, url, *data = shlex.split(line)
        body = data[1].encode() if data else None
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=30) as response:
            return json.loads(response.read())

    def predict(self, name: str, *rows: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> Any:
        """Send rows, or columns, to the signature `raw`; return the probabilities of each row."""
        body = {"signature_name": "raw", **({"instances": rows} if rows else {"inputs": inputs})}
        url = f"http://localhost:{self.rest}/v1/models/{name}:predict"
        request = urllib.request.Request(url, data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.loads(response.read())
        return [row["probabilities"] for row in answer["predictions"]] if rows else answer["outputs"]["probabilities"]


@contextlib.contextmanager
def serving(root: Path, *names: str, prefix: Sequence[str] = ()) -> Iterator[Served]:
    port, rest = free_port(), free_port()
    log = root.parent / f"serve-{port}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*prefix, BENISON, "serve", *names, "--root", root, "--port", str(port), "--rest-port", str(rest), "--poll", "1"],
            cwd=root.parent, stdout=output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        wait_until(lambda: process.poll() is not None or "Ctrl-C stops the server" in log.read_text(), 120)
        assert process.poll() is None, log.read_text()
        yield Served(process, log, rest, port)
    finally:
        process.kill()
        process.wait()


def test_the_curl_line_works_and_ctrl_c_ends_it(pushed: Project) -> None:
    with serving(pushed.root, "birds") as server:
        served = labels.served(pushed.base)
        assert served is not None
        assert f"serving birds, version {served.number}" in server.output()
        (answer,) = server.answer_to_curl_line("birds")["predictions"]
        assert sorted(answer["classes"]) == ["Adelie", "Chinstrap", "Gentoo"]
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)
        _check_missing_cells(server, served)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
        assert "Traceback" not in server.output()


def _check_missing_cells(server: Served, version: Version) -> None:
    """Check that a missing cell of a request is one of training on every path, and that -1 is a number."""
    import tensorflow as tf

    full = {
        "island": "Dream", "bill_length_mm": 40.0, "bill_depth_mm": 18.0, "flipper_length_mm": 190,
        "body_mass_g": 4000, "sex": "male", "year": 2008,
    }  # fmt: skip
    optional = {"bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g", "sex"}
    assert version.missing_values.keys() == optional
    assert {name for name, i in version.manifest.inputs.items() if i.missing is not None} == optional
    assert version.manifest.inputs["body_mass_g"].missing == version.missing_values["body_mass_g"] == -9007199254740991

    model = tf.saved_model.load(str(version.path))

    def as_trained(row: Mapping[str, Any]) -> list[float]:
        example = tf.train.Example()
        for name, value in row.items():
            feature = example.features.feature[name]
            if isinstance(value, str):
                feature.bytes_list.value.append(value.encode())
            else:
                (feature.int64_list if isinstance(value, int) else feature.float_list).value.append(value)
        answer = model.signatures["serving_default"](examples=tf.constant([example.SerializeToString()]))
        return list(answer["probabilities"].numpy()[0])

    def same(answer: Any, expected: Any) -> bool:
        return bool(answer == pytest.approx(expected, abs=1e-5))

    for name in optional:
        row = {key: value for key, value in full.items() if key != name}
        expected = as_trained(row)
        assert same(server.predict("birds", row)[0], expected)
        assert same(server.predict("birds", {**row, name: None})[0], expected)
        columns = {key: [value] for key, value in row.items()}
        assert same(server.predict("birds", inputs=columns)[0], expected)
        assert same(server.predict("birds", inputs={**columns, name: [None]})[0], expected)
        assert same(server.predict("birds", {**row, name: version.missing_values[name]})[0], expected)
        for prediction in predict(version, [row, {**row, name: None}]):
            assert same(list(prediction.output.values()), expected)
    for number in (-1, 0):
        row = {**full, "body_mass_g": number}
        expected = as_trained(row)
        assert same(server.predict("birds", row)[0], expected)
        assert not same(expected, as_trained({key: value for key, value in full.items() if key != "body_mass_g"}))
    with pytest.raises(urllib.error.HTTPError, match="400"):
        server.predict("birds", {**full, "year": None})
    _check_missing_integer_of_a_required_column(server, version, {**full, "year": MISSING_INTEGER}, as_trained)


def _check_missing_integer_of_a_required_column(
    server: Served, version: Version, row: Mapping[str, Any], as_trained: Callable[[Mapping[str, Any]], Any]
) -> None:
    """Check that every path refuses the value, as null is refused: it is no year."""
    import tensorflow as tf

    columns = {name: [value] for name, value in row.items()}
    arrays = {name: np.array(values, np.int64 if name == "year" else None) for name, values in columns.items()}
    floats = {"bill_length_mm", "bill_depth_mm"}
    tensors = {name: arrays[name].astype(np.float32 if name in floats else arrays[name].dtype) for name in arrays}

    async def by_clients() -> None:
        async with RestClient(url=f"http://localhost:{server.rest}") as client:
            for request in ({"instances": [row]}, {"inputs": columns}):
                with pytest.raises(ServerError, match=r"stands for a missing whole number.*\[year\]"):
                    await client.predict("birds", **request, signature="raw")
        async with GrpcClient(f"localhost:{server.grpc}") as client:
            with pytest.raises(ServerError, match=r"stands for a missing whole number.*\[year\]"):
                await client.predict("birds", tensors, signature="raw")

    asyncio.run(by_clients())
    with pytest.raises(tf.errors.InvalidArgumentError, match="year"):
        as_trained(row)
    with pytest.raises(DataError, match="row 1, column 'year': got -9007199254740991"):
        predict(version, [row])


def test_a_read_only_root_that_was_moved_is_served_and_deployed(tmp_path: Path, made: dict[int, Path]) -> None:
    folder = tmp_path / "root" / "serving"
    publish(made[1], folder / "one", 1)
    (folder / "models.config").write_text(config([entry("one", tmp_path / "elsewhere" / "serving" / "one")]))
    folder.chmod(0o555)
    try:
        with serving(tmp_path / "root", "one", prefix=UNPRIVILEGED) as server:
            assert "serving one, version 1" in server.output()
            assert f"{folder} is read-only, so the server has a copy of {folder}/models.config" in server.output()
    finally:
        folder.chmod(0o755)


def write_reader(folder: Path) -> Path:
    """A SavedModel that reads the file which a request names."""
    import tensorflow as tf

    read = tf.function(lambda s: {"y": tf.io.read_file(s[0])}, input_signature=[tf.TensorSpec([None], tf.string, "s")])
    tf.saved_model.save(tf.Module(), str(folder), signatures=read)
    return folder


def test_several_models_are_served_at_once_and_models_config_is_polled(tmp_path: Path, made: dict[int, Path]) -> None:
    root = tmp_path / "root"
    for name in ("one", "two"):
        for version in (1, 2):
            publish(made[version], root / "serving" / name, version)
    publish(write_reader(tmp_path / "reader"), root / "serving" / "reader", 1)
    with serving(root, "one", "two", "reader") as server:
        # ROOT's own versions may use files.
        assert sorted(re.findall("serving (.*, version .*)", server.output())) == [
            "one, version 2",
            "reader, version 1",
            "two, version 2",
        ]
        (metrics,) = re.findall("^Prometheus +(http.*)$", server.output(), re.MULTILINE)
        assert urllib.request.urlopen(metrics).read().startswith(b"# TYPE :tensorflow:serving:request_count counter")
        assert "serving_default" in str(
            server.answer_to_curl_line("two")
        )  # without `raw`, the line requests the metadata
        file = root / "serving" / "models.config"
        file.write_text(
            file.read_text().replace("latest {\n        num_versions: 1", "specific {\n        versions: 1")
        )

        def served(name: str) -> Any:
            url = f"http://localhost:{server.rest}/v1/models/{name}:predict"
            with urllib.request.urlopen(url, data=b'{"instances": [2]}', timeout=30) as response:
                return json.loads(response.read())

        wait_until(lambda: served("one") == served("two") == {"predictions": [2.0]})


@pytest.mark.parametrize("option", ["--port", "--rest-port"])
def test_a_port_in_use_is_refused_before_anything_is_loaded(tmp_path: Path, made: dict[int, Path], option: str) -> None:
    publish(made[1], tmp_path / "serving" / "one", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {"--port": free_port(), "--rest-port": free_port(), option: port}
        words = [str(word) for pair in ports.items() for word in pair]
        done = subprocess.run(
            [BENISON, "serve", "one", "--root", tmp_path, *words], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2
    assert f"{option} {port}: cannot be opened on 127.0.0.1: Address already in use; choose another port" in done.stderr


def test_a_name_that_was_never_pushed_is_refused_with_a_close_name(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "serving" / "penguins", 1)
    done = subprocess.run(
        [BENISON, "serve", "pengiuns", "--root", tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "nothing is pushed yet; `benison run pengiuns` pushes a version; did you mean 'penguins'?" in done.stderr
    assert not (tmp_path / "serving" / "models.config").exists()


def test_models_without_a_served_version_do_not_keep_the_others_waiting(tmp_path: Path, made: dict[int, Path]) -> None:
    base = tmp_path / "serving"
    for name, version in (("one", 1), ("one", 2), ("new", 1)):
        publish(made[version], base / name, version)
    models = [
        entry("gone", base / "gone"),
        entry("new", base / "new", specific(7)),
        entry("one", base / "one", specific(1, stable=1)),
    ]
    (base / "models.config").write_text(config(models))
    with serving(tmp_path, "one", "new") as server:
        assert "serving one, version 1" in server.output()
        for line in (
            f"gone: no version is pushed yet; it is served as soon as there is one in {base / 'gone'}",
            "new: version 1 is pushed but not promoted, and no version is served; `benison promote new 1` serves it",
            "one: version 2 is pushed but not promoted, and version 1 is served; `benison promote one 2` serves it",
        ):
            assert line in server.output()
