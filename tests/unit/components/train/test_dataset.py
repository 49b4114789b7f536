"""The rows that a member learns from, epoch after epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.train import member
from benison.components.train.imbalance import ClassBalance
from benison.components.transform import LABEL

ROWS, LABELLED = 40, 36
RECIPE = member.Recipe("models.py:linear", "binary", batch_size=8, patience=1, seed=3)


@pytest.fixture
def transform(tmp_path: Path) -> Any:
    """Write transformed examples, in which a label of -1 is unknown, and return a reader of their spec."""
    import tensorflow as tf

    spec = {"x": tf.io.FixedLenFeature([], tf.float32), LABEL: tf.io.FixedLenFeature([], tf.int64)}
    with tf.io.TFRecordWriter(str(tmp_path / "rows.gz"), "GZIP") as writer:
        for row in range(ROWS):
            example = tf.train.Example()
            example.features.feature["x"].float_list.value.append(row)
            example.features.feature[LABEL].int64_list.value.append(row % 2 if row < LABELLED else -1)
            writer.write(example.SerializeToString())

    class Output:
        def transformed_feature_spec(self) -> dict[str, Any]:
            return dict(spec)

    return Output()


def epochs(tmp_path: Path, transform: Any, *, learn: bool) -> list[list[float]]:
    """Return the rows of three epochs."""
    dataset = member.dataset([str(tmp_path / "*.gz")], transform, RECIPE, ClassBalance("none"), learn=learn)
    return [[float(x) for features, _ in dataset for x in features["x"].numpy().ravel()] for _ in range(3)]


@pytest.mark.parametrize("learn", [True, False])
def test_rows_that_stay_in_memory_are_those_of_the_files_in_the_same_order(
    tmp_path: Path, transform: Any, monkeypatch: pytest.MonkeyPatch, learn: bool
) -> None:
    in_memory = epochs(tmp_path, transform, learn=learn)
    monkeypatch.setattr(member, "CACHED_BYTES", 0)
    assert epochs(tmp_path, transform, learn=learn) == in_memory


def test_each_epoch_has_all_labelled_rows_in_an_order_of_its_own(tmp_path: Path, transform: Any) -> None:
    first, second, third = epochs(tmp_path, transform, learn=True)
    for epoch in (first, second, third):
        assert sorted(epoch) == np.arange(LABELLED).tolist()
    assert first != second != third
    assert epochs(tmp_path, transform, learn=False)[0] == np.arange(LABELLED).tolist()
