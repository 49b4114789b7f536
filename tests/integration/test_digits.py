"""Pictures: the shipped pipeline from a TFRecord to a server that is sent PNG files; examples/images is quicker."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from benison.serving.versions import local
from tests.integration.conftest import BENISON
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


def _pictures(root: Path) -> tuple[list[dict[str, dict[str, str]]], list[int]]:
    """Fifty of the data, as REST takes bytes, and what they show."""
    (file,) = root.rglob("digits.tfrecord")
    examples = [
        tf.train.Example.FromString(r.numpy()).features.feature for r in tf.data.TFRecordDataset(str(file)).take(50)
    ]
    rows = [{"image": {"b64": base64.b64encode(e["image"].bytes_list.value[0]).decode()}} for e in examples]
    return rows, [int(e["digit"].int64_list.value[0]) for e in examples]
