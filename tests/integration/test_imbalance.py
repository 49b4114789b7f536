"""Rare classes and sample weights: members predict the probabilities of the population, also after the push."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.conftest import Project

POPULATION = 8000
RARE = 0.08  # of the population; the table has only half of the other rows, and each of them counts twice
YAML = """
name: frauds
problem: binary
label: fraud
weight: counts
data: {csv: rows.csv}
splits: {train: 5, valid: 1, blend: 1, test: 3}
columns: {amount: number, hour: number, shop: ignore}
slices: [shop]
cost: {false_negative: 20, false_positive: 1}
metric: auc
ensemble:
  members:
    grown: {kind: trees, hyperparameters: {trees: 60, depth: 3, learning_rate: 0.1}}
    plain: {function: linear, epochs: 20, patience: 4, batch_size: 64, hyperparameters: {learning_rate: 0.02}}
    weighted: {function: "mine.py:sigmoid", imbalance: class_weight, epochs: 20, patience: 4, batch_size: 64, hyperparameters: {learning_rate: 0.02}}
    sampled: {function: linear, imbalance: undersample, epochs: 40, patience: 8, batch_size: 64, hyperparameters: {learning_rate: 0.02}}
"""
# What most users of Keras write for two classes.
MEMBER = """
import keras

def sigmoid(inputs, hp):
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs["numbers"]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Run a pipeline on a sample of a population in which one row in twelve is of the rare class.

    A logistic regression is the exact model. Rows of weight 0 have random labels.
    """
    project = Project(tmp_path_factory.mktemp("frauds"))
    rng = np.random.default_rng(0)
    rare = rng.random(POPULATION) < RARE
    table_rows = [(fraud, 1 if fraud else 2) for fraud in rare if fraud or rng.random() < 0.5]
    table_rows += [(fraud, 0) for fraud in rng.random(400) < 0.9]
    rng.shuffle(table_rows)
    with (project.folder / "rows.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["amount", "hour", "shop", "fraud", "counts"])
        for row, (fraud, counts) in enumerate(table_rows):
            known = fraud if counts else 0
            numbers = [f"{rng.normal(1.2 * known, 1):.4f}", f"{rng.normal(-0.8 * known, 1):.4f}"]
            table.writerow([*numbers, "ab"[row % 2], "y" if fraud else "n", counts])
    (project.folder / "mine.py").write_text(MEMBER)
    (project.folder / "frauds.yaml").write_text(YAML)
    done = project.benison("run", "frauds.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (project.folder / "report.txt").write_text(done.stdout)
    return project


def judged(project: Project) -> dict[str, Any]:
    """Return the record of the blessing."""
    run = json.loads(max(project.root.glob("runs/*/run.json")).read_text())
    outputs = [output for node in run["nodes"] for values in node["outputs"].values() for output in values]
    files = [Path(o["uri"], "blessing.json") for o in outputs if o["type"] == "ModelBlessing"]
    (blessing,) = [json.loads(file.read_text()) for file in files if file.is_file()]
    return dict(blessing)


def scores(project: Project) -> dict[str, dict[str, float]]:
    """Return the metrics on `test`, by model."""
    return dict(judged(project)["metrics"])


@pytest.mark.parametrize("member", ["weighted", "sampled", "grown"])
def test_a_balanced_member_is_as_calibrated_as_a_plain_one(project: Project, member: str) -> None:
    metrics = scores(project)
    plain, balanced = metrics["plain"], metrics[member]
    # Uncorrected, the log loss of such a member is about 0.5 and its calibration error about 0.3.
    assert balanced["log_loss"] == pytest.approx(plain["log_loss"], abs=0.02)
    assert balanced["calibration_error"] < 0.05
    assert balanced["auc"] == pytest.approx(plain["auc"], abs=0.02)


def test_mistakes_cost_less_than_with_no_action_at_all(project: Project) -> None:
    metrics = scores(project)
    assert all(metrics[model]["cost"] < 20 * RARE for model in ("plain", "weighted", "sampled", "grown", "ensemble"))


def test_a_pushed_member_predicts_the_frequency_in_the_data(project: Project) -> None:
    done = project.benison("predict", "frauds.yaml", "--csv", "rows.csv", "--members")
    assert done.returncode == 0, done.stderr
    # Each model prints `NAME 0.xxx`: the class that it decides for, at the threshold of the cost, and its probability.
    answers = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    with (project.folder / "rows.csv").open(newline="") as stream:
        weights = [float(row["counts"]) for row in csv.DictReader(stream)]
    assert len(answers) == len(weights)
    for column in (2, 4, 6, 8, 10):
        probabilities = [float(a[column]) if a[column - 1] == "y" else 1 - float(a[column]) for a in answers]
        assert np.average(probabilities, weights=weights) == pytest.approx(RARE, abs=0.02)
        assert {a[column - 1] == "y" for a, p in zip(answers, probabilities, strict=True) if p > 0.06} == {True}


def test_metrics_are_computed_for_each_value_of_a_column_that_is_no_feature(project: Project) -> None:
    (scores_file,) = project.root.glob("artifacts/frauds/EnsembleScores/scores/*/scores.parquet")
    import pandas as pd

    assert set(pd.read_parquet(scores_file)["slice:shop"]) == {"a", "b"}


@pytest.mark.filterwarnings("ignore")  # TFX's dependencies emit warnings about one another
def test_every_figure_of_a_metric_counts_rows_by_their_weights(project: Project) -> None:
    from sklearn.metrics import average_precision_score, log_loss

    from benison.components.evaluate.scorer import Scores
    from benison.pipelines.running import evaluations

    (folder,) = project.root.glob("artifacts/frauds/EnsembleScores/scores/*")
    loaded, blessing = Scores.load(folder, "test"), judged(project)
    weights, labels = loaded.weights, loaded.rows["label"].to_numpy()
    assert weights is not None
    assert set(weights) == {1.0, 2.0}
    assert loaded.reference[1] == pytest.approx(RARE, abs=0.01)
    probabilities = loaded.outputs["ensemble"].astype(float)
    ours = blessing["metrics"]["ensemble"]
    assert ours["log_loss"] == pytest.approx(log_loss(labels, probabilities, sample_weight=weights), abs=1e-5)
    precision = average_precision_score(labels, probabilities[:, 1], sample_weight=weights)
    assert ours["pr_auc"] == pytest.approx(precision)
    assert abs(average_precision_score(labels, probabilities[:, 1]) - precision) > 0.05
    (evaluated,) = project.root.glob("artifacts/frauds/Evaluator/evaluation/*")
    of_tfx = evaluations.read(evaluated)[0]
    (name,) = [metric for metric in of_tfx if "precision" in metric]
    assert of_tfx[name] == pytest.approx(precision, abs=0.02)  # TFX's is by buckets of the probability
    assert blessing["weight"]["rows"] == len(weights)
    assert "metrics are weighted by counts: " in (project.folder / "report.txt").read_text()


def test_the_weight_is_no_input_of_the_served_model(project: Project) -> None:
    import tensorflow as tf

    (folder,) = [path.parent for path in project.root.glob("serving/frauds/*/saved_model.pb")]
    inputs = tf.saved_model.load(str(folder)).signatures["raw"].structured_input_signature[1]
    assert {"amount", "hour"} <= inputs.keys()
    assert not {"counts", "fraud"} & inputs.keys()
