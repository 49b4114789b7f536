"""`benison export`: a version as ONNX, as a bundle and as projects, which answer as the version does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.serving import predict
from benison.serving.versions import local
from tests.integration.conftest import CLONE, Project

UV = [sys.executable, str(CLONE / ".ci/bootstrap.py"), "uv"]


def rows_of(project: Project) -> list[dict[str, str | None]]:
    """Return all rows of the penguins."""
    with project.csv.open(newline="") as file:
        return [
            {name: None if cell in ("", "NA") else cell for name, cell in row.items()} for row in csv.DictReader(file)
        ]


def with_odd_rows(rows: list[dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Add rows with missing cells and values that nobody has seen."""
    first = rows[0]
    return [
        *rows,
        *({**first, name: None} for name in first if name not in ("species", "year", "island")),
        *({**first, name: "never seen"} for name in ("island", "sex")),
    ]


def inputs_of(version: local.Version, rows: Sequence[Mapping[str, str | None]]) -> dict[str, np.ndarray]:
    """Return rows as the inputs of `raw`, with the value that stands for a missing cell."""
    kinds: dict[str, Any] = {"string": str, "int64": int, "float32": float}
    inputs = {}
    for name, entry in version.manifest.inputs.items():
        missing = float("nan") if entry.missing == "NaN" else entry.missing
        cells = [missing if row[entry.column] is None else kinds[entry.type](row[entry.column]) for row in rows]
        inputs[name] = np.array(cells, object if entry.type == "string" else entry.type)
    return inputs


def test_onnx_answers_every_row_as_the_version_does(pushed: Project, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    import onnxruntime
    import tensorflow as tf

    done = pushed.benison("export", "birds.yaml", "--to", "onnx", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows answered as in training" in done.stdout
    version = local.versions(pushed.base)[-1]
    rows = with_odd_rows(rows_of(pushed))
    inputs = inputs_of(version, rows)
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    wanted = {tensor.name for tensor in session.get_inputs()}
    (answers,) = session.run(None, {name: values for name, values in inputs.items() if name in wanted})
    raw = tf.saved_model.load(str(version.path)).signatures["raw"]
    expected = raw(**{name: tf.constant(values) for name, values in inputs.items()})
    np.testing.assert_allclose(answers, expected["probabilities"], atol=1e-5)
    classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
    assert classes == [name.decode() for name in expected["classes"].numpy()[0]]

    again = pushed.benison("export", "birds.yaml", "--to", "onnx", "--output", str(tmp_path / "out"))
    assert (again.returncode, "already exists" in again.stderr) == (2, True)
    unknown = pushed.benison("export", "birds.yaml", "--to", "onyx")
    assert "--to onyx: expected one of onnx, " in unknown.stderr


def environment(folder: Path, *packages: str) -> Path:
    """Make an environment with some packages; return its Python."""
    python = folder / "bin" / "python"
    for words in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        subprocess.run([*UV, *words], check=True, cwd=CLONE, capture_output=True, timeout=900)
    return python


@pytest.mark.system
def test_a_bundle_needs_only_tensorflow(pushed: Project, tmp_path: Path) -> None:
    done = pushed.benison("export", "birds.yaml", "--to", "bundle", "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    (zipped,) = (tmp_path / "out").iterdir()
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path / "bundle")
    reader = tmp_path / "bundle" / "predict.py"
    assert len(reader.read_text().splitlines()) <= 100
    python = environment(tmp_path / "venv", *(tmp_path / "bundle" / "requirements.txt").read_text().split())
    answered = subprocess.run(
        [str(python), str(reader), str(pushed.csv)], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    answers = list(csv.DictReader(answered.stdout.splitlines()))
    rows = rows_of(pushed)
    expected = predict.predict(local.versions(pushed.base)[-1], [{k: v or "" for k, v in row.items()} for row in rows])
    assert [row["decision"] for row in answers] == [p.decision for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert {name: float(answer[name]) for name in prediction.output} == pytest.approx(prediction.output, abs=1e-5)


SERVICE = """
import csv, json, sys
sys.path.insert(0, sys.argv[1])
import bentoml, service
print(json.dumps(service.Service.inner().predict(json.load(sys.stdin))))
"""
APP = """
import json, sys
sys.path.insert(0, sys.argv[1])
import app
from gradio_client import Client
app.app.launch(prevent_thread_lock=True, quiet=True)
client = Client(app.app.local_url, verbose=False)
row = json.load(sys.stdin)[0]
cells = [row[entry["column"]] for entry in app.entries]
cells = [float(c) if entry["type"] != "string" else c for c, entry in zip(cells, app.entries)]
answer = client.predict(*cells, api_name="/predict")
print(json.dumps([{c["label"]: c["confidence"] for c in answer["confidences"]}]))
"""


@pytest.mark.system
@pytest.mark.soak  # each installs about a hundred packages
@pytest.mark.parametrize(("kind", "code"), [("bentoml", SERVICE), ("gradio", APP)])
def test_a_project_runs_in_its_own_environment(pushed: Project, tmp_path: Path, kind: str, code: str) -> None:
    done = pushed.benison("export", "birds.yaml", "--to", kind, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stdout + done.stderr
    python = environment(tmp_path / "venv", *(tmp_path / "out" / "requirements.txt").read_text().split())
    row = rows_of(pushed)[0]
    answered = subprocess.run(
        [str(python), "-c", code, str(tmp_path / "out")],
        input=json.dumps([row]), check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert answered.returncode == 0, answered.stderr
    answer = json.loads(answered.stdout.splitlines()[-1])[0]
    (expected,) = predict.predict(local.versions(pushed.base)[-1], [{k: v or "" for k, v in row.items()}])
    assert {name: answer[name] for name in expected.output} == pytest.approx(expected.output, abs=1e-4)
