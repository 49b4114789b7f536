"""The features of trees, computed by TensorFlow Transform: numbers as they are, and different ids for missing and unseen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

COLUMNS: dict[str, dict[str, Any]] = {
    "size (cm)": {"kind": "number"},
    "epoch": {"kind": "number"},
    "colour": {"kind": "category", "size": 1},
    "owner": {"kind": "hashed", "size": 8},
    "born": {"kind": "date"},
    "note": {"kind": "text", "size": 12},
    "id": {"kind": "ignore"},
}
EPOCH = 1_700_000_000_123  # milliseconds: float32 has every 131,072nd of them
WHOLE = ("epoch",)
TRAIN = [
    {"label": 1.0, "size (cm)": 1e30, "epoch": EPOCH, "colour": "red", "owner": "ann", "born": "2024-02-29T01:30", "note": "Good dog", "id": "a"},
    {"label": 2.0, "epoch": EPOCH + 3, "colour": "light\nblue", "owner": "bob", "born": "rubbish", "note": "bad", "id": "b"},
    {"label": 1.0, "size (cm)": -0.25, "epoch": EPOCH + 10**9 + 7, "colour": "red", "owner": "ann", "born": "1970-01-02", "id": "c"},
]  # fmt: skip
LATER = [{"label": 2.0}, {"label": 1.0, "size (cm)": math.inf, "epoch": EPOCH - 5, "colour": "mauve", "owner": "bob"}]


def own_features(inputs: dict[str, Any]) -> dict[str, Any]:
    import tensorflow as tf

    from benison import dense

    return {"epoch": tf.cast(dense(inputs["epoch"], 0), tf.float32), "owner": dense(inputs["owner"], "")}


def own_group(inputs: dict[str, Any]) -> dict[str, Any]:
    features = own_features(inputs)
    return {"owner": features["owner"], "trees": {"epoch": features["epoch"]}}


def config(folder: Path, features: str, columns: Mapping[str, Any], trees: bool = True) -> dict[str, Any]:
    from benison.pipelines.generic.columns import TREE_FEATURES

    return {
        "features": features,
        "columns": columns,
        "label": "label",
        "problem": "regression",
        "marks": {},
        "single": [*COLUMNS],
        "trees": TREE_FEATURES if trees else "",
        "graph": str(folder),
    }


def transformed(folder: Path, features: str, columns: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the features of TRAIN and LATER, and the folder with the names of their columns."""
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from benison.components.transform import preprocessing_fn

    settings = config(folder, features, columns)
    types = {name: tf.int64 if name in WHOLE else tf.string for name in COLUMNS}
    types |= {"size (cm)": tf.float32, "label": tf.float32}
    spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in types.items()}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    function: Callable[[Any], Any] = lambda inputs: preprocessing_fn(inputs, settings)  # noqa: E731

    def complete(rows: Sequence[Any]) -> list[dict[str, Any]]:
        return [{name: [row[name]] if name in row else [] for name in spec} for row in rows]

    with tft_beam.Context(temp_dir=str(folder)):
        (train, _), graph = (complete(TRAIN), metadata) | tft_beam.AnalyzeAndTransformDataset(function)
        later, _ = ((complete(LATER), metadata), graph) | tft_beam.TransformDataset()
    return list(train), list(later), str(folder)


@pytest.fixture(scope="module")
def generic(tmp_path_factory):
    return transformed(tmp_path_factory.mktemp("trees"), "benison.pipelines.generic.features:preprocessing_fn", COLUMNS)


def named(features: tuple[Any, ...]) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the columns of trees by name."""
    from benison.components.feature_groups import TREES, read_names

    names = read_names(TREES, features[2])
    train, later = (
        [
            {
                name: float(value)
                for feature, columns in names.items()
                for name, value in zip(columns, row[f"{TREES}/{feature}"], strict=True)
            }
            for row in rows
        ]
        for rows in features[:2]
    )
    return train, later


def test_numbers_are_as_they_are_and_nan_where_missing(generic):
    train, later = named(generic)
    assert [row["size (cm)"] for row in train[::2]] == [np.float32(1e30), -0.25]
    assert math.isnan(train[1]["size (cm)"])
    assert math.isnan(later[0]["size (cm)"])
    assert later[1]["size (cm)"] == math.inf


def test_whole_numbers_beyond_float32_keep_their_value(generic):
    train, later = named(generic)
    both = [row["epoch"] + row["epoch (rest)"] for row in (*train, later[1])]
    assert both == [0, 3, 10**9 + 7, -5]
    assert train[1]["epoch"] == 3  # alone, as long as the distance to the smallest one is below 2 ** 24
    assert math.isnan(later[0]["epoch"])


def test_missing_and_unseen_categories_have_ids_of_their_own(generic):
    train, later = named(generic)
    assert [row["colour"] for row in (*train, *later)] == [2, 3, 2, 0, 1]
    assert [row["owner"] for row in (*train, *later)] == [2, 3, 2, 0, 3]


def test_dates_are_parts_and_texts_are_lengths(generic):
    train, later = named(generic)
    parts = ("days", "month", "day", "weekday", "minute")
    assert [train[0][f"born ({part})"] for part in parts] == [19782, 2, 29, 3, 90]
    assert [train[2][f"born ({part})"] for part in parts] == [1, 1, 2, 4, 0]
    assert all(math.isnan(row[f"born ({part})"]) for part in parts for row in (train[1], later[0]))
    assert [train[0][f"note ({part})"] for part in ("characters", "words")] == [8, 2]
    assert math.isnan(train[2]["note (words)"])


def test_all_columns_are_in_two_features_and_ignored_ones_in_none(generic):
    names = {name for name in generic[0][0] if name.startswith("trees/")}
    assert names == {"trees/numbers", "trees/categories"}
    assert not any(name == "id" for name in named(generic)[0][0])


def test_without_columns_trees_see_the_columns_that_the_other_features_are_made_of(tmp_path):
    features = transformed(tmp_path, f"{__file__}:own_features", {})
    assert set(named(features)[0][0]) == {"epoch", "epoch (rest)", "owner"}
    assert {"epoch", "owner"} <= set(features[0][0])  # the user's own


@pytest.mark.parametrize(("trees", "expected"), [(True, {"owner", "trees/epoch"}), (False, {"owner"})])
def test_a_group_of_the_user_replaces_benisons_and_is_left_out_if_no_member_needs_it(tmp_path, trees, expected):
    import tensorflow as tf

    from benison.components.transform import preprocessing_fn

    rows = {"epoch": tf.constant([[EPOCH]], tf.int64), "owner": tf.constant([["ann"]]), "label": tf.constant([[1.0]])}
    features = preprocessing_fn(rows, config(tmp_path, f"{__file__}:own_group", {}, trees))
    assert set(features) == {*expected, "label_xf"}
