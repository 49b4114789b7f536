"""Pictures: the shipped pipeline from a TFRecord to a server that is sent PNG files; examples/images is quicker."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benison.serving.versions import local
from tests.integration.conftest import BENISON, CLONE
from tests.integration.model_server import running, signatures_alone

FEW = "{linear: {epochs: 8, hyperparameters: {learning_rate: 0.01}}, cnn: {epochs: 4, hyperparameters: {filters: 16, dropout: 0.3}}}"


@pytest.mark.soak
def test_pictures_become_a_served_ensemble(tmp_path: Path) -> None:
    sets = [f"--set=ensemble.members={FEW}", "--set=blessing.rules=[{metric: accuracy, min: 0.5}]"]
    done = subprocess.run(
        [str(BENISON), "run", "digits", "--root", str(tmp_path / "root"), *sets],
        cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed  served on a model server" in done.stdout
    (served,) = tmp_path.rglob("serving.json")
    assert "12 boundary rows that the members refuse" in served.read_text()

    base = tmp_path / "root" / "serving" / "digits"
    assert [signatures_alone(version.path) for version in local.versions(base)] == [{}]
    with running(tmp_path, f"--model_base_path={base}", "--model_name=digits") as server:
        rows, digits = _pictures(tmp_path / "root")
        code, answer = server.post("digits:predict", {"signature_name": "raw", "instances": rows})
        assert code == 200, answer
        found = [max(zip(row["probabilities"], row["classes"], strict=True))[1] for row in answer["predictions"]]
        assert sum(int(a) == b for a, b in zip(found, digits, strict=True)) > 0.5 * len(digits)
        code, answer = server.post("digits:predict", {"signature_name": "raw", "instances": [{"image": "no picture"}]})
        assert (code, list(answer)) == (400, ["error"])

    _small_file(tmp_path, base, sets)


def _small_file(tmp_path: Path, base: Path, sets: list[str]) -> None:
    """Push the same ensemble with an int8 file, serve it, run it without TensorFlow, and refuse a loss of nothing."""
    (before,) = local.versions(base)
    for max_drop, has_file in (("0.05", True), ("0", False)):
        lite = f"--set=serving.tflite={{quantize: int8, max_drop: {max_drop}}}"
        done = subprocess.run(
            [str(BENISON), "run", "digits", "--root", str(tmp_path / "root"), *sets, lite],
            cwd=tmp_path, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        version = local.versions(base)[-1]
        assert version.number > before.number, "a version without the file is another one"
        assert (version.path / local.LITE).is_file() == has_file
        lite_file = version.manifest.lite
        assert lite_file is not None
        assert lite_file.passed == has_file
        expected = "looks up no text: image" if has_file else "not below 0; the version is pushed without the file"
        assert expected in done.stdout
        if has_file:
            _runs_without_tensorflow(tmp_path, version.path)
            folder = tmp_path / "lite" / "1"
            folder.parent.mkdir()
            folder.symlink_to(version.path)
            environment = {"BENISON_FOLLOW_LINKS": "1"}
            flags = (f"--model_base_path={folder.parent}", "--model_name=digits", "--prefer_tflite_model")
            with running(tmp_path, *flags, environment=environment) as server:
                assert (
                    server.ask("GET", "/benison/status")[1]["models"]["digits"]["versions"]["1"]["engine"] == "tflite"
                )
                request = {"signature_name": "transformed", "instances": [{"image": [0.0] * 64}]}
                code, answer = server.post("digits:predict", request)
                assert (code, len(answer["predictions"][0]["probabilities"])) == (200, 10)


def _runs_without_tensorflow(tmp_path: Path, version: Path) -> None:
    """Compare the file's answers in LiteRT alone with those of TensorFlow's interpreter."""
    uv = [sys.executable, str(CLONE / ".ci/bootstrap.py"), "uv"]
    python = tmp_path / "litert" / "bin" / "python"
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(tmp_path / "litert")],
        ["pip", "install", "--quiet", "--python", str(python), "ai-edge-litert", "numpy"],
    ):
        subprocess.run([*uv, *words], check=True, cwd=CLONE, capture_output=True, timeout=300)
    pictures = np.random.default_rng(0).random((20, 64), np.float32)
    np.save(tmp_path / "pictures.npy", pictures)
    code = (
        "import sys, numpy; from ai_edge_litert.interpreter import Interpreter; assert 'tensorflow' not in sys.modules; "
        "run = Interpreter(model_path=sys.argv[1]).get_signature_runner('transformed'); "
        "numpy.save(sys.argv[3], run(image=numpy.load(sys.argv[2]))['probabilities'])"
    )
    words = [str(version / local.LITE), str(tmp_path / "pictures.npy"), str(tmp_path / "answers.npy")]
    subprocess.run([str(python), "-c", code, *words], check=True, capture_output=True, timeout=300)
    runner = tf.lite.Interpreter(model_path=words[0]).get_signature_runner("transformed")
    np.testing.assert_allclose(np.load(words[2]), runner(image=pictures)["probabilities"], atol=0.02)


def _pictures(root: Path) -> tuple[list[dict[str, dict[str, str]]], list[int]]:
    """Fifty of the data, as REST takes bytes, and what they show."""
    (file,) = root.rglob("digits.tfrecord")
    examples = [
        tf.train.Example.FromString(r.numpy()).features.feature for r in tf.data.TFRecordDataset(str(file)).take(50)
    ]
    rows = [{"image": {"b64": base64.b64encode(e["image"].bytes_list.value[0]).decode()}} for e in examples]
    return rows, [int(e["digit"].int64_list.value[0]) for e in examples]
