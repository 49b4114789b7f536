"""Numbers of generic features: skewed columns are scored on a logarithmic scale, chosen from the rows of `train`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benison.components.column_moments import of_batch, of_batches, summary

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


def scored(train: NDArray, later: NDArray, folder: Path) -> tuple[NDArray, NDArray]:
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from benison import number_scores

    spec = {"x": tf.io.FixedLenFeature([train.shape[1]], tf.float32)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    rows = [[{"x": row} for row in values.astype(np.float32)] for values in (train, later)]
    with tft_beam.Context(temp_dir=str(folder)):
        (first, _), graph = (rows[0], metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: {"x": number_scores(inputs["x"])}
        )
        second, _ = ((rows[1], metadata), graph) | tft_beam.TransformDataset()
    one, other = (np.array([row["x"] for row in several]) for several in (first, second))
    return one, other


def test_skewed_columns_are_scored_as_logarithms_and_others_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    price = np.exp(rng.normal(8, 1.5, 500))
    train = np.stack([price, -price, rng.normal(1e6, 1, 500), np.full(500, 3.0), rng.integers(0, 2, 500)], axis=1)
    train[:50, 0] = np.nan
    later = np.array([[np.nan, np.inf, 1e6, 4.0, 0.0], [0.0, 0.0, -1e9, 3.0, 1.0]])
    scores, new = scored(train, later, tmp_path)
    logs = np.log1p(price)
    known = logs[50:]
    np.testing.assert_allclose(scores[50:, 0], (known - known.mean()) / known.std(), atol=1e-4)
    assert not scores[:50, 0].any()
    np.testing.assert_allclose(scores[:, 1], -(logs - logs.mean()) / logs.std(), atol=1e-4)
    plain = train[:, 2].astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(scores[:, 2], (plain - plain.mean()) / plain.std(), atol=1e-4)
    assert not scores[:, 3].any()
    assert len(np.unique(scores[:, 4])) == 2
    assert new[0, :2].tolist() == [0, 10]
    assert new[1, 2] == -10
    assert new[0, 3] == 1
    np.testing.assert_allclose(new[1, 0], -known.mean() / known.std(), atol=1e-4)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([1e9 + rng.exponential(1, 1000), rng.normal(size=1000), np.full(1000, 7.0)], axis=1)
    values[rng.random(values.shape) < 0.1] = np.nan
    batches = [of_batch(part) for part in np.split(values, [0, 1, 2, 400, 990])]
    total = of_batches(batches, 3)
    for order in (rng.permutation(len(batches)) for _ in range(20)):
        assert of_batches([batches[i] for i in order], 3).tobytes() == total.tobytes()
    mean, deviation, skewness = summary(total)
    exact = values - np.array([1e9, 0, 0])
    np.testing.assert_allclose(mean - np.array([1e9, 0, 0]), np.nanmean(exact, axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation, np.nanstd(exact, axis=0), rtol=1e-6, atol=0)
    cubes = np.nanmean((exact - np.nanmean(exact, axis=0)) ** 3, axis=0)[:2]
    np.testing.assert_allclose(skewness[:2], cubes / np.nanstd(exact, axis=0)[:2] ** 3, rtol=1e-5)
    assert skewness[2] == 0
