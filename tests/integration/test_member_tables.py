"""An ensemble has the tables that its members read, and not the copies of Transform's graph in the members."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

WORDS = ("ant", "bee", "cat")
FEATURES = """
import tensorflow as tf
import tensorflow_transform as tft

def preprocessing_fn(inputs):
    known = tft.compute_and_apply_vocabulary(inputs["word"], vocab_filename="words")
    return {"word": inputs["word"], "known": tf.cast(known >= 0, tf.float32)}
"""


def analyze(folder: Path) -> Any:
    """Analyze rows of words with Benison's preprocessing_fn; return Transform's output."""
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    from benison.components.transform import preprocessing_fn

    (folder / "features.py").write_text(FEATURES)
    config = {
        "features": f"{folder}/features.py:preprocessing_fn",
        "columns": {},
        "label": "gone",
        "problem": "binary",
        "positive": "yes",
        "label_schema": {"listed": [], "positive": None},
        "marks": {},
    }
    spec = {"word": tf.io.FixedLenFeature([1], tf.string), "gone": tf.io.FixedLenFeature([1], tf.string)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [{"word": [word], "gone": [label]} for word in WORDS for label in ("yes", "no")]
    with tft_beam.Context(temp_dir=str(folder / "tmp")):
        graph = (rows, metadata) | tft_beam.AnalyzeDataset(lambda inputs: preprocessing_fn(inputs, config))
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    metadata_io.write_metadata(metadata, str(folder / "graph" / "metadata"))
    return tft.TFTransformOutput(str(folder / "graph"))


def export_member(folder: Path, transform: Any) -> None:
    """Export a member that looks words up in a table of its own, and has variables."""
    import keras
    import tensorflow as tf

    from benison.components.train import signatures

    word = keras.Input((1,), dtype="string", name="word")
    ids = keras.layers.StringLookup(vocabulary=list(WORDS))(word)
    embedded = keras.layers.Flatten()(keras.layers.Embedding(len(WORDS) + 1, 2)(ids))
    model = keras.Model(word, keras.layers.Softmax()(embedded))
    signatures.export(
        str(folder / "Format-Serving"),
        transform,
        "gone",
        predict=lambda transformed: model(tf.reshape(transformed["word"], [-1, 1])) * transformed["known"],
        tracked=[model],
    )


def build(folder: Path) -> Path:
    """Build an ensemble of the member by EnsembleBuilder; return its SavedModel."""
    import pandas as pd
    from tfx.types import standard_artifacts

    from benison.components.ensemble.ensemble_builder import Executor
    from benison.components.evaluate.score_writer import FILE, MODEL_PREFIX
    from benison.components.evaluate.scorer import METADATA_FILE, ModelScores

    (folder / "scores").mkdir()
    labels = np.arange(100) % 2
    answers = [[0.4, 0.6] if label else [0.7, 0.3] for label in labels]
    frame = pd.DataFrame({"split": "blend", "row": range(100), "label": labels})
    frame[f"{MODEL_PREFIX}one"] = [np.array(answer, np.float32) for answer in answers]
    frame.to_parquet(folder / "scores" / FILE)
    metadata = {
        "classes": ["no", "yes"],
        "reference": [0.5, 0.5],
        "median": [],
        "absent": {},
        "combiner_split": "blend",
        "weight": "",
    }
    (folder / "scores" / METADATA_FILE).write_text(json.dumps(metadata))
    folders = {
        "model_one": (standard_artifacts.Model, "one"),
        "scores": (ModelScores, "scores"),
        "transform_graph": (standard_artifacts.TransformGraph, "graph"),
        "model": (standard_artifacts.Model, "ensemble"),
    }
    artifacts: dict[str, list[Any]] = {}
    for name, (kind, place) in folders.items():
        artifact = kind()
        artifact.uri = str(folder / place)
        artifacts[name] = [artifact]
    output = {"model": artifacts.pop("model")}
    properties = {
        "members": "one",
        "label": "gone",
        "problem": "binary",
        "custom_config": json.dumps({"settings": {"combiner": "mean"}}),
    }
    Executor().Do(artifacts, output, properties)
    return folder / "ensemble" / "Format-Serving"


def test_an_ensemble_answers_as_its_member_after_the_member_is_deleted(tmp_path: Path) -> None:
    import tensorflow as tf

    export_member(tmp_path / "one", analyze(tmp_path))
    words = tf.constant([*WORDS, "dog", ""])
    member = tf.saved_model.load(str(tmp_path / "one" / "Format-Serving"))
    expected = member.signatures["raw"](word=words)["probabilities"].numpy()
    ensemble = build(tmp_path)
    for gone in ("one", "graph", "tmp"):
        shutil.rmtree(tmp_path / gone)
    answers = tf.saved_model.load(str(ensemble)).signatures["raw"](word=words)["probabilities"].numpy()
    np.testing.assert_array_equal(answers, expected)
    assert np.ptp(expected[:3], axis=0).max() > 0  # the words do have different answers
    assert len(list((ensemble / "assets").iterdir())) == 2  # classes and words, once
