"""Rare classes: members trained on balanced rows predict the probabilities of the data, also after the push."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.conftest import Project

ROWS = 6000
RARE = 0.08
YAML = """
name: frauds
problem: binary
label: fraud
data: {csv: rows.csv}
splits: {train: 5, valid: 1, blend: 1, test: 3}
columns: {amount: number, hour: number, shop: ignore}
slices: [shop]
cost: {false_negative: 20, false_positive: 1}
metric: auc
ensemble:
  members:
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
    """Run a pipeline on rows of which one in twelve is of the rare class; a logistic regression is the exact model."""
    project = Project(tmp_path_factory.mktemp("frauds"))
    rng = np.random.default_rng(0)
    rare = rng.random(ROWS) < RARE
    with (project.folder / "rows.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["amount", "hour", "shop", "fraud"])
        for row, fraud in enumerate(rare):
            numbers = [f"{rng.normal(1.2 * fraud, 1):.4f}", f"{rng.normal(-0.8 * fraud, 1):.4f}"]
            table.writerow([*numbers, "ab"[row % 2], "y" if fraud else "n"])
    (project.folder / "mine.py").write_text(MEMBER)
    (project.folder / "frauds.yaml").write_text(YAML)
    done = project.benison("run", "frauds.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def scores(project: Project) -> dict[str, dict[str, float]]:
    """Return the metrics on `test`, by model."""
    run = json.loads(max(project.root.glob("runs/*/run.json")).read_text())
    outputs = [output for node in run["nodes"] for values in node["outputs"].values() for output in values]
    files = [Path(o["uri"], "blessing.json") for o in outputs if o["type"] == "ModelBlessing"]
    (blessing,) = [json.loads(file.read_text()) for file in files if file.is_file()]
    metrics: dict[str, Any] = blessing["metrics"]
    return metrics


@pytest.mark.parametrize("member", ["weighted", "sampled"])
def test_a_balanced_member_is_as_calibrated_as_a_plain_one(project: Project, member: str) -> None:
    metrics = scores(project)
    plain, balanced = metrics["plain"], metrics[member]
    # Uncorrected, the log loss of such a member is about 0.5 and its calibration error about 0.3.
    assert balanced["log_loss"] == pytest.approx(plain["log_loss"], abs=0.02)
    assert balanced["calibration_error"] < 0.05
    assert balanced["auc"] == pytest.approx(plain["auc"], abs=0.02)


def test_mistakes_cost_less_than_with_no_action_at_all(project: Project) -> None:
    metrics = scores(project)
    assert all(metrics[model]["cost"] < 20 * RARE for model in ("plain", "weighted", "sampled", "ensemble"))


def test_a_pushed_member_predicts_the_frequency_in_the_data(project: Project) -> None:
    done = project.benison("predict", "frauds.yaml", "--csv", "rows.csv", "--members")
    assert done.returncode == 0, done.stderr
    # Each model prints `NAME 0.xxx`: the class that it decides for, at the threshold of the cost, and its probability.
    answers = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert len(answers) == ROWS
    for column in (2, 4, 6, 8):
        probabilities = [float(a[column]) if a[column - 1] == "y" else 1 - float(a[column]) for a in answers]
        assert np.mean(probabilities) == pytest.approx(RARE, abs=0.02)
        assert {a[column - 1] == "y" for a, p in zip(answers, probabilities, strict=True) if p > 0.06} == {True}


def test_metrics_are_computed_for_each_value_of_a_column_that_is_no_feature(project: Project) -> None:
    (scores_file,) = project.root.glob("artifacts/frauds/EnsembleScores/scores/*/scores.parquet")
    import pandas as pd

    assert set(pd.read_parquet(scores_file)["slice:shop"]) == {"a", "b"}
