"""The positive class, from the label's column to the scores: the right one, whichever class is rarer.

Transform's graph, an exported model and Scorer are the real ones, without a pipeline around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.evaluate.metrics import Costs, Decision, metrics_for

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 400
COSTS = Costs(false_negative=5, false_positive=2)
DECISION = Decision.cheapest(COSTS)
FEATURES = """
def preprocessing_fn(inputs):
    return {"risk": inputs["risk"]}
"""
LABELS: dict[str, tuple[Any, Any]] = {"text": ("stay", "churn"), "integer": (0, 1), "boolean": ("true", "false")}
POSITIVE = {"text": "churn", "integer": None, "boolean": "false"}  # None: the rule decides


@dataclass(frozen=True)
class Trained:
    """A model whose probability of the positive class is the feature `risk`, and the rows it was made from."""

    risk: np.ndarray
    truth: np.ndarray
    scores: Any
    decisions: np.ndarray
    positive: str


@pytest.fixture(scope="module", params=[(kind, rate) for kind in LABELS for rate in (0.2, 0.8)], ids=str)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    kind, rate = request.param
    folder = tmp_path_factory.mktemp("positive")
    rng = np.random.default_rng(5)
    truth = rng.random(ROWS) < rate
    risk = np.clip(rng.beta(2, 2, ROWS) * 0.7 + 0.3 * truth, 0.01, 0.99).astype(np.float32)
    labels = [LABELS[kind][int(positive)] for positive in truth]
    export(folder, kind, risk, labels)
    positive = str(LABELS[kind][1])
    return Trained(risk, truth.astype(int), score(folder, risk, labels), decisions(folder, risk), positive)


def export(folder: Path, kind: str, risk: np.ndarray, labels: list[Any]) -> None:
    """Analyse the rows with Benison's preprocessing_fn, and export a model that predicts `risk`."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from benison.components.train import signatures
    from benison.components.transform import preprocessing_fn
    from benison.serving.ensemble import Ensemble, Mean

    (folder / "features.py").write_text(FEATURES)
    config = {
        "features": f"{folder}/features.py:preprocessing_fn",
        "columns": {},
        "label": "gone",
        "problem": "binary",
        "positive": POSITIVE[kind],
        "label_schema": {"listed": [], "positive": None},
        "marks": {},
    }
    dtype = tf.int64 if kind == "integer" else tf.string
    spec = {"risk": tf.io.FixedLenFeature([1], tf.float32), "gone": tf.io.VarLenFeature(dtype)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [{"risk": [r], "gone": [label]} for r, label in zip(risk, labels, strict=True)]
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, config))
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    metadata_io.write_metadata(metadata, str(folder / "graph" / "metadata"))
    signatures.export(
        str(folder / "model" / "Format-Serving"),
        tft.TFTransformOutput(str(folder / "graph")),
        "gone",
        predict=lambda transformed: tf.concat([1 - transformed["risk"], transformed["risk"]], axis=1),
        tracked=[],
        decide=Ensemble(members=("one",), combiner=Mean(), output="probabilities", threshold=DECISION.threshold).decide,
    )


def decisions(folder: Path, risk: np.ndarray) -> np.ndarray:
    """Return the answers of the exported model, as a server gives them."""
    import tensorflow as tf

    raw = tf.saved_model.load(str(folder / "model" / "Format-Serving")).signatures["raw"]
    return np.array([name.decode() for name in raw(risk=tf.constant(risk))["decision"].numpy()])


def score(folder: Path, risk: np.ndarray, labels: list[Any]) -> Any:
    """Run Scorer's executor on the rows as the splits train, blend and test."""
    import tensorflow as tf
    from tfx import types
    from tfx.types import artifact_utils, standard_artifacts

    from benison.components.evaluate.scorer import Executor, ModelScores, Scores

    def value(label: Any) -> Any:
        if isinstance(label, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[label.encode()]))

    splits = ("train", "blend", "test")
    for split in splits:
        (folder / "examples" / f"Split-{split}").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "examples" / f"Split-{split}" / "rows.gz"), "GZIP") as writer:
            for number, label in zip(risk, labels, strict=True):
                feature = {
                    "risk": tf.train.Feature(float_list=tf.train.FloatList(value=[number])),
                    "gone": value(label),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    artifacts: dict[str, types.Artifact] = {
        "examples": standard_artifacts.Examples(),
        "transform_graph": standard_artifacts.TransformGraph(),
        "model_ensemble": standard_artifacts.Model(),
        "scores": ModelScores(),
    }
    folders = {"examples": "examples", "transform_graph": "graph", "model_ensemble": "model", "scores": "scores"}
    for name, artifact in artifacts.items():
        artifact.uri = str(folder / folders[name])
        (folder / folders[name]).mkdir(exist_ok=True)
    artifacts["examples"].split_names = artifact_utils.encode_split_names(list(splits))
    inputs = {name: [artifact] for name, artifact in artifacts.items() if name != "scores"}
    properties = {"label": "gone", "slices": "[]", "models": "ensemble", "splits": '["blend", "test"]', "weight": ""}
    Executor().Do(inputs, {"scores": [artifacts["scores"]]}, properties)
    return Scores.load(folder / "scores", "test")


def test_the_positive_class_is_the_second_one_at_any_base_rate(trained: Trained) -> None:
    assert trained.scores.rows["label"].tolist() == trained.truth.tolist()
    np.testing.assert_allclose(trained.scores.outputs["ensemble"][:, 1], trained.risk, atol=1e-6)
    np.testing.assert_allclose(trained.scores.reference[1], trained.truth.mean())


def test_the_metrics_of_the_positive_class_equal_those_of_scikit_learn(trained: Trained) -> None:
    from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

    labels, predictions = trained.scores.rows["label"].to_numpy(), trained.scores.outputs["ensemble"]
    metrics = {n: m.compute(labels, predictions) for n, m in metrics_for("binary", DECISION).items()}
    assert metrics["pr_auc"] == pytest.approx(average_precision_score(trained.truth, trained.risk))
    assert metrics["auc"] == pytest.approx(roc_auc_score(trained.truth, trained.risk))
    (_, false_positive), (false_negative, _) = confusion_matrix(trained.truth, trained.risk >= 2 / (5 + 2))
    assert metrics["cost"] == pytest.approx((5 * false_negative + 2 * false_positive) / ROWS)


def test_the_served_decision_is_the_cheaper_one(trained: Trained) -> None:
    from sklearn.metrics import confusion_matrix

    acts = trained.decisions == trained.positive
    labels, predictions = trained.scores.rows["label"].to_numpy(), trained.scores.outputs["ensemble"]
    metrics = {n: m.compute(labels, predictions) for n, m in metrics_for("binary", DECISION).items()}
    assert metrics["accuracy"] == pytest.approx((acts == trained.truth).mean())
    np.testing.assert_array_equal(acts, trained.risk >= np.float32(2 / (5 + 2)))
    (_, false_positive), (false_negative, _) = confusion_matrix(trained.truth, acts)
    assert metrics["cost"] == pytest.approx((5 * false_negative + 2 * false_positive) / ROWS)
