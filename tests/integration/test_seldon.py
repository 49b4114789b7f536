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

from benison.serving import missing_values
from benison.serving.errors import DataError, EnsembleError
from benison.serving.seldon import fusion, graph, imported_ensemble, seldon_deployment
from benison.serving.server.codec import column_names
from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines.saved_model import SessionEngine
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


def test_python_code_in_the_folder_runs_only_if_the_user_names_it(tmp_path: Path, made: dict[int, Path]) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')\n\n\ndef last(outputs):\n    return outputs['model-b']\n"
    (tmp_path / "mine.py").write_text(code)
    bound = [f"--bind={binding}" for binding in ("preprocess=identity", f"model-a={made[1]}", f"model-b={made[2]}")]
    in_json = json.dumps({"kind": "custom", "function": "last", "source": code})
    refused = benison(tmp_path, "import", str(EXAMPLE), "-o", "out", *bound, "--combiner", in_json)
    assert (refused.returncode, "expected FILE.py:FUNCTION" in refused.stderr) == (2, True)
    done = benison(tmp_path, "import", str(EXAMPLE), "-o", "out", *bound, "--combiner", "mine.py:last")
    assert done.returncode == 0, done.stderr
    ask, fuse = ["predict", "out", "--json", "rows.json"], ["fuse", "out", "-o", "fused/1"]
    for command in (ask, fuse):
        refused = benison(tmp_path, *command)
        assert (refused.returncode, "--allow-code FILE.py:last" in refused.stderr) == (1, True)
    (tmp_path / "other.py").write_text(code.replace("model-b", "model-a"))
    assert "has other code" in benison(tmp_path, *ask, "--allow-code", "other.py:last").stderr
    assert not marker.exists()
    assert answers(benison(tmp_path, *ask, "--allow-code", "mine.py:last"))["custom"] == half_plus(2)
    assert marker.exists()


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


def test_models_with_answers_of_different_shapes_are_refused(tmp_path: Path) -> None:
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


def write_whole_numbers(
    folder: Path, factor: float, missing: int | None, classes: tuple[str, ...] = (), column: str = "n"
) -> Path:
    """Write a SavedModel of a whole number n: 100 x factor for a missing cell, else n x factor."""

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, name="n")])
        def call(self, n: Any) -> dict[str, Any]:
            number = tf.where(n == (0 if missing is None else missing), 100.0, tf.cast(n, tf.float32))
            values = tf.stack([number * factor] * 2, axis=1)
            names = {"classes": tf.tile([classes], [tf.shape(n)[0], 1])} if classes else {}
            return {"probabilities": values, **names}

    model = Model()
    tf.saved_model.save(model, str(folder), signatures={"raw": model.call})
    if missing is not None:
        missing_values.write(folder, {"n": missing_values.describe_input(column, "int64", missing)})
    return folder


def fused(folder: Path, *models: Path) -> Path:
    graph_of_two = graph.from_predictor(seldon_deployment.read(EXAMPLE))
    bound = ["preprocess=identity", *(f"model-{name}={path}" for name, path in zip("ab", models, strict=True))]
    fusion.fuse(imported_ensemble.import_graph(graph_of_two, bound), folder)
    return folder


@pytest.mark.parametrize("marker", [missing_values.MISSING_INTEGER, missing_values.FORMER_MISSING_INTEGER])
def test_what_is_fused_takes_a_missing_cell_as_its_members_do(tmp_path: Path, marker: int) -> None:
    models = [write_whole_numbers(tmp_path / str(factor), factor, marker, column="a class") for factor in (1, 3)]
    target = fused(tmp_path / "fused", *models)
    engine = SessionEngine(str(target), LoadOptions())
    for name in ("serving_default", "members"):
        signature = engine.signatures[name]
        rows = {"instances": [{"n": None}, {}, {"n": marker}, {"a class": 5}]}
        inputs, _ = column_names.read_inputs(rows, signature)
        outputs = engine.run(signature, inputs, list(signature.outputs))
        factors = {"probabilities": 2, "model-a": 1, "model-b": 3}
        for output, values in outputs.items():
            assert values[:, 0].tolist() == [n * factors[output] for n in (100, 100, 100, 5)]


def test_models_that_take_a_missing_cell_differently_are_not_fused(tmp_path: Path) -> None:
    new, old, foreign = (
        write_whole_numbers(tmp_path / str(marker), 1, marker) for marker in (missing_values.MISSING_INTEGER, -1, None)
    )
    with pytest.raises(DataError, match=r"'n': members expect different values for a missing cell, -9007.* and -1"):
        fused(tmp_path / "both", new, old)
    another = write_whole_numbers(tmp_path / "another", 1, missing_values.MISSING_INTEGER, column="m")
    with pytest.raises(DataError, match="input 'n': members expect different columns, 'n' and 'm'"):
        fused(tmp_path / "columns", new, another)
    # A model that says nothing takes any number as a value, so the fused one needs a value in every row.
    target = fused(tmp_path / "mixed", new, foreign)
    assert not SessionEngine(str(target), LoadOptions()).signatures["serving_default"].missing


def test_models_that_name_their_classes_in_another_order_are_not_fused(tmp_path: Path) -> None:
    orders = {"same": ("no", "yes"), "again": ("no", "yes"), "turned": ("yes", "no")}
    models = {name: write_whole_numbers(tmp_path / name, 1, None, order) for name, order in orders.items()}
    fused(tmp_path / "out", models["same"], models["again"])
    with pytest.raises(EnsembleError, match=r"another order, .*: model-a: no, yes; model-b: yes, no"):
        fused(tmp_path / "wrong", models["same"], models["turned"])
