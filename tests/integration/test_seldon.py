"""Seldon graphs on the command line, with real SavedModels and the real server: import, predict, fuse."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from tests.integration.conftest import BENISON, CLONE
from tests.integration.model_server import publish, running

EXAMPLE = CLONE / "configs/examples/seldon-ensemble.yaml"
ROWS = [{"x": 2.0}, {"x": 0.0}, {"x": -4.0}]
X = np.array([row["x"] for row in ROWS], np.float32)


def benison(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
    environment["COLUMNS"] = "200"
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return subprocess.run(
        [str(BENISON), "ensemble", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def imported(folder: Path, file: Path, *bound: str, quorum: int | None = None) -> str:
    """Import into the folder `out`, and return the output."""
    options = [*(f"--bind={binding}" for binding in bound), *([f"--quorum={quorum}"] if quorum else [])]
    done = benison(folder, "import", str(file), "-o", "out", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def answers(done: subprocess.CompletedProcess[str]) -> dict[str, list[float]]:
    """Return the printed table by column."""
    assert done.returncode == 0, done.stdout + done.stderr
    head, *lines = done.stdout.splitlines()
    columns = zip(*(map(float, line.split()) for line in lines), strict=True)
    return {name: list(values) for name, values in zip(head.split(), columns, strict=True)}


def with_third_model(folder: Path) -> Path:
    """Write the example with one more container and child."""
    document = yaml.safe_load(EXAMPLE.read_text())
    (predictor,) = document["spec"]["predictors"]
    predictor["componentSpecs"][0]["spec"]["containers"].append({"name": "model-c", "image": "example/inference:1"})
    predictor["graph"]["children"][0]["children"].append({"name": "model-c", "type": "MODEL", "children": []})
    file = folder / "three.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def half_plus(*offsets: float) -> Any:
    """Return the mean of the models' answers: y = x / 2 + offset."""
    return pytest.approx(X / 2 + np.mean(offsets))


def write(folder: Path, function: Callable[[Any], dict[str, Any]]) -> Path:
    """Write a SavedModel of a function of x."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def call(self, x: Any) -> dict[str, Any]:
            return function(x)

    model = Model()
    tf.saved_model.save(model, str(folder), signatures=model.call)
    return folder


def test_the_example_predicts_the_mean_of_its_models_also_with_a_third(tmp_path: Path, made: dict[int, Path]) -> None:
    bound = ["preprocess=identity", f"model-a={made[1]}", f"model-b={made[2]}"]
    output = imported(tmp_path, EXAMPLE, *bound)
    assert f"├─ model-a  MODEL  {made[1]}" in output
    table = answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))
    assert table["mean"] == half_plus(1, 2)
    assert (table["model-a"], table["model-b"]) == (half_plus(1), half_plus(2))

    imported(tmp_path, with_third_model(tmp_path), *bound, f"model-c={made[3]}")
    table = answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))
    assert table["mean"] == half_plus(1, 2, 3)
    assert table["model-c"] == half_plus(3)


def test_servers_and_saved_models_answer_together_and_a_missing_one_is_reported(
    tmp_path: Path, made: dict[int, Path]
) -> None:
    for version in (1, 2):
        publish(made[version], tmp_path / "base", version)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "m" base_path: "{tmp_path / "base"}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }"
    )
    with running(tmp_path, f"--model_config_file={config}") as server:
        place = f"grpc://127.0.0.1:{server.port}/m"
        # model-a names a version; model-b takes the highest.
        bound = ["preprocess=identity", f"model-a={place}/1", f"model-b={place}", f"model-c={made[3]}"]
        imported(tmp_path, with_third_model(tmp_path), *bound)
        table = answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))
    assert table["mean"] == half_plus(1, 2, 3)
    gone = benison(tmp_path, "predict", "out", "--json", "rows.json")
    assert gone.returncode == 1
    assert "UNAVAILABLE" in gone.stderr
    assert "Traceback" not in gone.stderr
    imported(tmp_path, with_third_model(tmp_path), *bound, quorum=1)
    left = benison(tmp_path, "predict", "out", "--json", "rows.json")
    assert answers(left)["mean"] == half_plus(3)
    assert "without model-a: UNAVAILABLE" in left.stderr


def test_a_bound_transformer_comes_before_the_models(tmp_path: Path, made: dict[int, Path]) -> None:
    doubling = write(tmp_path / "doubling", lambda x: {"x": 2 * x})
    imported(tmp_path, EXAMPLE, f"preprocess={doubling}", f"model-a={made[1]}", f"model-b={made[2]}")
    table = answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))
    assert table["mean"] == pytest.approx(X + 1.5)

    done = benison(tmp_path, "fuse", "out", "-o", "fused/1")
    assert done.returncode == 0, done.stderr
    loaded = tf.saved_model.load(str(tmp_path / "fused" / "1"))
    fused = loaded.signatures["serving_default"](x=tf.constant(X))["prediction"]
    assert fused.numpy()[:, 0] == pytest.approx(X + 1.5)


def test_models_that_answer_different_shapes_are_told(tmp_path: Path) -> None:
    two = write(tmp_path / "two", lambda x: {"y": tf.tile(x[:, None], [1, 2])})
    three = write(tmp_path / "three", lambda x: {"y": tf.tile(x[:, None], [1, 3])})
    imported(tmp_path, EXAMPLE, "preprocess=identity", f"model-a={two}", f"model-b={three}")
    done = benison(tmp_path, "predict", "out", "--json", "rows.json")
    assert done.returncode == 1
    assert "have different shapes and cannot be combined: model-a [3, 2], model-b [3, 3]" in done.stderr


def test_what_is_fused_answers_by_the_server_as_the_fan_out_does(tmp_path: Path, made: dict[int, Path]) -> None:
    imported(tmp_path, EXAMPLE, "preprocess=identity", f"model-a={made[1]}", f"model-b={made[3]}")
    fan_out = answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))
    done = benison(tmp_path, "fuse", "out", "-o", "fused/1")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "fused").iterdir()] == ["1"]
    with running(tmp_path, "--model_name=both", f"--model_base_path={tmp_path / 'fused'}") as server:
        status, answer = server.post("both:predict", {"instances": ROWS})
        assert status == 200, answer
        assert [row[0] for row in answer["predictions"]] == pytest.approx(fan_out["mean"])
        status, answer = server.post("both:predict", {"signature_name": "members", "instances": ROWS})
        assert status == 200, answer
        assert [row["model-b"] for row in answer["predictions"]] == pytest.approx(fan_out["model-b"])
    again = benison(tmp_path, "fuse", "out", "-o", "fused/1")
    assert (again.returncode, "already exists" in again.stderr) == (2, True)


def test_what_deploy_writes_is_read_and_answers(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[2], tmp_path / "root" / "serving" / "penguins", 1)
    words = ["--target", "seldon", "--set", "serving.kubernetes.claim=models", "--root", "root", "-o", "deploy"]
    done = subprocess.run(
        [str(BENISON), "deploy", "penguins", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    written = tmp_path / "deploy" / "seldondeployment.yaml"
    refused = benison(tmp_path, "import", str(written))
    assert "its modelUri pvc://models/penguins is not on this machine" in refused.stderr
    imported(tmp_path, written, f"penguins={tmp_path / 'root/serving/penguins'}")
    assert answers(benison(tmp_path, "predict", "out", "--json", "rows.json"))["mean"] == half_plus(2)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["import", str(EXAMPLE), "--bind", "preprocess=identity"], 2, "node model-a (MODEL) is not bound"),
        (["import", "none.yaml"], 2, "none.yaml: No such file"),
        (["predict", "nowhere", "--json", "rows.json"], 1, "no such file; `benison ensemble import` writes it"),
        (["fuse", "nowhere", "-o", "x"], 1, "no such file; `benison ensemble import` writes it"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    done = benison(tmp_path, *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]
