"""The statistics of a small table, computed without Beam, are those of TFX's StatisticsGen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = {"train": 3000, "test": 500}


def examples(folder: Path) -> Any:
    """Write rows with numbers, few and many texts, lists, and missing cells; return the artifact."""
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    random = np.random.default_rng(0)
    for split, size in SIZES.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / f"Split-{split}" / "rows.gz"), "GZIP") as writer:
            for row in range(size):
                features = {
                    "number": tf.train.Feature(float_list={"value": [random.normal()]}),
                    "whole": tf.train.Feature(int64_list={"value": [int(random.integers(0, 50))]}),
                    "few": tf.train.Feature(bytes_list={"value": [b"abc"[row % 3 : row % 3 + 1]]}),
                    "many": tf.train.Feature(bytes_list={"value": [f"text {random.integers(0, 2500)}".encode()]}),
                    "list": tf.train.Feature(float_list={"value": random.normal(size=random.integers(0, 4))}),
                }
                if random.random() < 0.1:
                    del features["whole"]
                writer.write(tf.train.Example(features={"feature": features}).SerializeToString())
    artifact = standard_artifacts.Examples()
    artifact.uri = str(folder)
    artifact.split_names = artifact_utils.encode_split_names(list(SIZES))
    artifact.span = 7
    return artifact


def computed(executor: type, rows: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Run an executor; return the artifact of its output, and the statistics of each split by column."""
    from tensorflow_metadata.proto.v0 import statistics_pb2
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri = str(folder)
    executor().Do({"examples": [rows]}, {"statistics": [artifact]}, {})
    by_split = {}
    for split in SIZES:
        read = (folder / f"Split-{split}" / "FeatureStats.pb").read_bytes()
        (dataset,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(read).datasets
        by_split[split] = (dataset.num_examples, {feature.path.step[0]: feature for feature in dataset.features})
    return artifact, by_split


def rounded(feature: Any) -> Any:
    """Return the statistics of a column without the last digits of its mean and deviation."""
    for name in ("mean", "std_dev"):
        if feature.HasField("num_stats"):
            setattr(feature.num_stats, name, float(f"{getattr(feature.num_stats, name):.12g}"))
    return feature


def test_they_are_those_of_tfx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfx.components.statistics_gen import executor

    from benison.components.validate import small_statistics

    rows = examples(tmp_path / "rows")
    by_tfx, expected = computed(executor.Executor, rows, tmp_path / "tfx")
    with monkeypatch.context() as patched:
        patched.setattr(executor.Executor, "_make_beam_pipeline", lambda _: pytest.fail("Beam runs"))
        artifact, statistics = computed(small_statistics.Executor, rows, tmp_path / "own")
    assert artifact.split_names == by_tfx.split_names
    assert artifact.span == by_tfx.span == 7
    assert artifact.mlmd_artifact.custom_properties.keys() == by_tfx.mlmd_artifact.custom_properties.keys()
    for split in SIZES:
        assert statistics[split][0] == expected[split][0] == SIZES[split]
        own, tfx = statistics[split][1], expected[split][1]
        assert own.keys() == tfx.keys()
        for column in own:
            assert rounded(own[column]) == rounded(tfx[column]), column


def test_a_larger_table_goes_the_usual_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benison.components.validate import small_statistics

    monkeypatch.setattr(small_statistics, "MOST_ROWS", 600)
    monkeypatch.setattr(small_statistics, "_computed", lambda _: pytest.fail("computed in memory"))
    _, statistics = computed(small_statistics.Executor, examples(tmp_path / "rows"), tmp_path / "own")
    assert statistics["train"][0] == SIZES["train"]
