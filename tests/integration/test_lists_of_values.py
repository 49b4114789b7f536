"""TFRecord rows with several values per feature, some without a label: from the file to the answers of a server."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

pytestmark = pytest.mark.system  # a whole run

YAML = """
name: birds
problem: multiclass
label: grade
data: {tfrecord: rows.tfrecord}
features: features.py
models: models.py
ensemble:
  members:
    deep: {epochs: 12, hyperparameters: {learning_rate: 0.03}}
"""
FEATURES = """
import tensorflow as tf

def preprocessing_fn(inputs):
    tags = tf.sparse.to_dense(inputs["tags"], default_value="")
    amounts = tf.sparse.to_dense(inputs["amounts"])
    red = tf.reduce_sum(tf.cast(tags == "red", tf.float32), axis=1, keepdims=True)
    return {"red": red, "total": tf.reduce_sum(amounts, axis=1, keepdims=True), "point": inputs["point"]}
"""
MODELS = """
from keras import layers

def deep(inputs, hp):
    return layers.Dense(8, activation="relu")(layers.concatenate(list(inputs.values())))
"""


def rows(count: int) -> list[dict[str, list[Any]]]:
    """Return rows by feature: a list of texts, one of numbers, a point; and a label, which one row in ten lacks."""
    rng = random.Random(4)
    made: list[dict[str, list[Any]]] = []
    for number in range(count):
        tags = [rng.choice([b"red", b"blue"]) for _ in range(rng.randint(0, 4))]
        amounts = [rng.random() * 4 for _ in range(rng.randint(0, 3))]
        point = [rng.gauss(0, 1), rng.gauss(0, 1)]
        score = 2 * tags.count(b"red") + sum(amounts) + 2 * point[0]
        grade = b"low" if score < 2 else b"middle" if score < 6 else b"high"
        grade = b"only one" if number == 0 else grade
        made.append({"tags": tags, "amounts": amounts, "point": point, "grade": [grade] if number % 10 != 5 else []})
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("lists")
    for name, text in (("birds.yaml", YAML), ("features.py", FEATURES), ("models.py", MODELS)):
        (folder / name).write_text(text)
    with tf.io.TFRecordWriter(str(folder / "rows.tfrecord"), "GZIP") as writer:
        for row in rows(600):
            example = tf.train.Example()
            for name, values in row.items():
                lists = example.features.feature[name]
                (lists.float_list if name in ("amounts", "point") else lists.bytes_list).value.extend(values)
            writer.write(example.SerializeToString())
    project = Project(folder)
    done = project.run()
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "printed.txt").write_text(done.stdout)
    return project


def test_lists_and_missing_labels_go_through_the_whole_chain(project: Project) -> None:
    printed = (project.folder / "printed.txt").read_text()
    assert "label 'grade' is missing in " in printed
    assert "has no row of the class 'only one' (1 row of " in printed
    trial = json.loads(next(project.root.rglob("serving.json")).read_text())
    assert trial["blessed"]
    assert trial["rows"]["all"] > trial["rows"]["real"]
    metrics = next(project.root.glob("artifacts/birds/Evaluator/evaluation/*/metrics*"))
    assert metrics.stat().st_size

    good = {"tags": ["red", "red", "red"], "amounts": [3.5, 3.0], "point": [1.0, 0.0]}
    bad = {"tags": [], "amounts": [], "point": [-1.0, 0.0]}
    (project.folder / "rows.json").write_text(json.dumps([good, bad]))
    predicted = project.benison("predict", "birds.yaml", "--json", "rows.json")
    assert predicted.returncode == 0, predicted.stderr
    assert [line.split()[1] for line in predicted.stdout.splitlines() if line[:1].isdigit()] == ["high", "low"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "a.csv",
            "tags,amounts,point\nred,1,2\n",
            "row 1, column 'amounts': got '1', expected a list of values; a CSV",
        ),
        (
            "a.json",
            '[{"tags": [], "amounts": [], "point": [1]}]',
            "column 'point': got [1], expected a list of 2 values",
        ),
        ("a.json", '[{"tags": [], "amounts": ["x"], "point": [1, 2]}]', "column 'amounts': got 'x', expected a finite"),
    ],
)
def test_a_row_without_a_list_is_refused(project: Project, file: str, text: str, message: str) -> None:
    (project.folder / file).write_text(text)
    refused = project.benison("predict", "birds.yaml", f"--{Path(file).suffix[1:]}", file)
    assert refused.returncode == 1
    assert message in refused.stderr
