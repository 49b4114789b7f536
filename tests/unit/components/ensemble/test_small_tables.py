"""Members that learn in folds, their combiner and the blessing together: on noise they are refused, else blessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benison.components.ensemble import combiner_fit
from benison.components.evaluate.judged_rows import MemberChoice
from benison.components.evaluate.rules import Rule, judge
from benison.components.evaluate.verdicts import BlessingReport
from benison.components.train import member, out_of_fold
from benison.components.train.fitting import Task
from benison.components.train.keras_member import KerasFitter
from benison.components.train.rows import ArrayRows
from benison.serving.ensemble import Ensemble

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))]
MODELS = """
from keras import layers


def linear(inputs, hp):
    return inputs["x"]


def deep(inputs, hp):
    return layers.Dense(32, activation="relu")(inputs["x"])
"""


def judged(folder: Path, x: np.ndarray, labels: np.ndarray, seed: int) -> BlessingReport:
    """Learn from four fifths of the rows, and judge the ensemble on the others."""
    import keras_tuner

    (folder / "models.py").write_text(MODELS)
    rows = ArrayRows({"x": x.astype(np.float32)}, labels)
    cut = len(labels) * 4 // 5
    learn, test = rows.select(np.arange(cut)), rows.select(np.arange(cut, len(labels)))
    apart, answers = {}, {}
    for name in ("linear", "deep"):
        function = f"{folder / 'models.py'}:{name}"
        recipe = member.Recipe(function, "binary", batch_size=32, patience=5, seed=seed, epochs=30)
        hp = keras_tuner.HyperParameters()
        hp.Fixed("learning_rate", 0.01)
        fitter = KerasFitter(Task(recipe, hp, {"x": tf.io.FixedLenFeature([x.shape[1]], tf.float32)}, 2))
        predictions, rounds = out_of_fold.fit(fitter, learn, 5, seed, name)
        apart[name] = predictions.answers
        answers[name] = out_of_fold.answer(fitter.fit(learn, rounds).predict, test)
    fitted = combiner_fit.fit("weighted_mean", "binary", learn.targets, apart, seed=seed)
    spec = Ensemble(members=fitted.kept, combiner=fitted.combiner, output="probabilities")
    return judge(
        problem="binary",
        metric="auc",
        labels=test.targets,
        ensemble=spec.combine({name: answers[name] for name in fitted.kept}).numpy(),
        reference=np.bincount(learn.targets, minlength=2) / cut,
        members=answers,
        choice=MemberChoice(learn.targets, apart),
        rules=[Rule("auc", not_worse_than="best_member", warns=True)],
        seed=seed,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_shuffled_labels_are_refused(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(600, 5))
    labels = (x[:, 0] + x[:, 1] > 0).astype(np.int64)
    assert not judged(tmp_path, x, random.permutation(labels), seed).blessed


def test_a_signal_is_blessed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(600, 5))
    report = judged(tmp_path, x, (x[:, 0] + random.normal(size=600) > 0).astype(np.int64), seed=0)
    assert report.blessed
    assert [verdict.rule for verdict in report.verdicts][-1] == "auc not worse than best_member"
