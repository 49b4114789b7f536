"""The generic features, computed by TensorFlow Transform, are the same before and after `benison eject`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components import user_code

# Beam, TFT and their dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

COLUMNS: dict[str, dict[str, Any]] = {
    "size (cm)": {"kind": "number"},
    "weight": {"kind": "number"},
    "colour": {"kind": "category", "size": 3},
    "town": {"kind": "category", "size": 2},
    "owner": {"kind": "hashed", "size": 8},
    "vet": {"kind": "hashed", "size": 5},
    "born": {"kind": "date"},
    "seen": {"kind": "date", "format": "%d/%m/%Y %I:%M %p"},
    "note": {"kind": "text", "size": 12},
    "title": {"kind": "text", "size": 3},
    "id": {"kind": "ignore"},
}
# The squares of the numbers are beyond float32, and one colour has a line break.
TRAIN = [
    {"size (cm)": 1e-25, "weight": 1e25, "colour": "red", "town": "7:red", "owner": "ann", "vet": "ann", "born": "2024-02-29", "title": "Dr", "seen": "01/03/2024 01:30 PM", "note": "Good dog, very good", "id": "a"},
    {"size (cm)": 2e-25, "colour": "red", "town": "red", "owner": "bob", "born": "2024-03-02T18:00:00Z", "seen": "02/03/2024 12:00 AM", "note": "bad dog", "id": "b"},
    {"size (cm)": 3e-25, "weight": 3e25, "colour": "light\nblue", "town": "ü", "owner": "ann", "vet": "bob", "born": "rubbish", "title": "dr dr good dog", "seen": "03/03/2024 12:00 PM", "note": "GOOD dog", "id": "c"},
    {"size (cm)": 2e-25, "weight": 2e25, "colour": r"light\nblue", "town": "1-0", "owner": "cid", "born": "2024-01-01", "seen": "04/03/2024 06:00 AM", "id": "d"},
]  # fmt: skip
LATER = [
    {},
    {
        "size (cm)": 1e9,
        "weight": -math.inf,
        "colour": "mauve",
        "town": "red",
        "owner": "ann",
        "born": "2024-02-29",
        "note": "unheard of",
    },
]

# The generic features, and a check of the rows.
CHECKING = """
import tensorflow as tf
from benison import dense
from benison.pipelines.generic import features

def preprocessing_fn(inputs, columns):
    owner = dense(inputs["owner"], "")
    with tf.control_dependencies([tf.debugging.assert_none_equal(owner, "nobody", message="no owner")]):
        return {name: tf.identity(values) for name, values in features.preprocessing_fn(inputs, columns).items()}
"""


def transformed(function: Callable[[dict[str, Any]], Any], folder: Path) -> tuple[list[dict[str, np.ndarray]], ...]:
    """Compute the features of TRAIN and of LATER, both with the statistics of TRAIN."""
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    numbers = [name for name, column in COLUMNS.items() if column["kind"] == "number"]
    spec = {name: tf.io.VarLenFeature(tf.float32 if name in numbers else tf.string) for name in COLUMNS}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))

    def complete(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{name: [row[name]] if name in row else [] for name in COLUMNS} for row in rows]

    with tft_beam.Context(temp_dir=str(folder)):
        (train, _), graph = (complete(TRAIN), metadata) | tft_beam.AnalyzeAndTransformDataset(function)
        later, _ = ((complete(LATER), metadata), graph) | tft_beam.TransformDataset()
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    return list(train), list(later)


def by_column(row: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the features of a row by column: the features of a kind without the other columns of the kind."""
    columns: dict[str, np.ndarray] = {"numbers": row["numbers"]}
    for kind, feature in (("category", "categories"), ("hashed", "hashes"), ("text", "texts")):
        sizes = {name: column["size"] for name, column in COLUMNS.items() if column["kind"] == kind}
        *values, flags = np.split(row[feature], np.cumsum([*sizes.values()]))
        for position, (name, part) in enumerate(zip(sizes, values, strict=True)):
            columns[name] = np.append(part, flags[position : position + 1])
    dates = [name for name, column in COLUMNS.items() if column["kind"] == "date"]
    days, years, *circles, weekdays, flags = np.split(row["dates"], np.cumsum([2, 2, 2, 2, 2, 2, 14]))
    for position, name in enumerate(dates):
        singles = [part[position] for part in (days, years, *circles)]
        columns[name] = np.array([*singles, *weekdays[7 * position : 7 * position + 7], flags[position]])
    return columns


def one_column_at_a_time(inputs: dict[str, Any]) -> dict[str, Any]:
    """Compute the features of categories, hashes and texts with an analyzer of TFT for each column."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison import dense
    from benison.components.transform import _as_lines

    features = {}
    for name, column in COLUMNS.items():
        size = column.get("size")
        if size is None:
            continue
        words = dense(inputs[name], default="")[:, 0]
        if column["kind"] == "category":
            ids = tft.compute_and_apply_vocabulary(_as_lines(words), top_k=size, vocab_filename=f"of_{name}")
            features[name] = tf.one_hot(ids, size)
        elif column["kind"] == "hashed":
            buckets = tf.strings.to_hash_bucket_fast(words, size)
            features[name] = tf.where(tf.equal(words, "")[:, None], 0.0, tf.one_hot(buckets, size))
        else:
            plain = tf.strings.regex_replace(tf.strings.lower(words, encoding="utf-8"), r"[^\p{L}\p{N}]+", " ")
            terms = tft.ngrams(tf.strings.split(tf.strings.strip(plain)).to_sparse(), (1, 2), " ")
            known = tft.compute_and_apply_vocabulary(terms, top_k=size, vocab_filename=f"of_{name}")
            places, weights = tft.tfidf(tf.sparse.retain(known, known.values >= 0), size)
            indices = tf.stack([places.indices[:, 0], places.values], axis=1)
            shape = tf.stack([tf.shape(words, out_type=tf.int64)[0], tf.constant(size, tf.int64)])
            scores = tf.scatter_nd(indices, weights.values, shape)
            features[name] = tf.math.l2_normalize(tf.ensure_shape(scores, [None, size]), axis=1)
    return features


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, np.ndarray]], ...]:
    import tensorflow_transform as tft

    from benison.components.transform import user_features, without_missing

    folder = tmp_path_factory.getbasetemp()
    (folder / "checking.py").write_text(CHECKING)

    def function(inputs: dict[str, Any]) -> dict[str, Any]:
        columns = {name: values for name, values in inputs.items() if name != "id"}
        cleaned = without_missing(columns, single=COLUMNS)
        features = user_features(f"{folder}/checking.py:preprocessing_fn", cleaned, COLUMNS)
        return {**features, "label": tft.compute_and_apply_vocabulary(inputs["id"])}

    rows = transformed(function, folder)
    return tuple([{name: row[name] for name in row if name != "label"} for row in part] for part in rows)


def test_a_models_graph_takes_dense_columns_and_has_no_operation_that_mixes_rows(generic, tmp_path_factory):
    import tensorflow as tf
    import tensorflow_transform as tft

    from benison.components.transform_graph import TransformGraph
    from benison.serving.missing_values import marker

    graph = TransformGraph(tft.TFTransformOutput(str(tmp_path_factory.getbasetemp() / "graph")))
    used = [name for name in COLUMNS if name not in ("id", "note", "title")]
    types = {name: tf.float32 if COLUMNS[name]["kind"] == "number" else tf.string for name in COLUMNS}
    assert all(map(graph.is_dense, [*used, "note"]))
    assert not graph.is_dense("id")

    @tf.function
    def extended(columns: dict[str, Any]) -> dict[str, Any]:
        return graph.extend(columns)

    rows = [*TRAIN, LATER[0]]
    columns = {
        name: tf.constant([[row.get(name, marker(dtype.name))] for row in rows], dtype)
        for name, dtype in types.items()
        if name != "id"
    }
    features = extended(columns)
    assert "label" not in features
    for name, values in features.items():
        np.testing.assert_allclose(values, [row[name] for part in generic for row in part][: len(rows)], atol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no owner"):
        extended({**columns, "owner": tf.fill([len(rows), 1], "nobody")})
    without_texts = extended.get_concrete_function({name: tf.TensorSpec([None, 1], types[name]) for name in used})
    assert set(without_texts.structured_outputs) == {"numbers", "categories", "hashes", "dates"}
    operations = {operation.type for operation in without_texts.graph.get_operations()}
    mixing = {"Where", "SparseToDense", "Reshape", "GatherNd", "ScatterNd", "StridedSlice", "Transpose"}
    assert not operations & mixing, [(o.type, o.name) for o in without_texts.graph.get_operations() if o.type in mixing]


@pytest.fixture(scope="module")
def features(generic: tuple[list[dict[str, np.ndarray]], ...]) -> tuple[list[dict[str, np.ndarray]], ...]:
    return tuple([by_column(row) for row in rows] for rows in generic)


def test_each_feature_is_dense_and_has_the_documented_width(generic):
    assert {name: values.shape for name, values in generic[0][0].items()} == {
        "numbers": (4,),
        "categories": (3 + 2 + 2,),
        "hashes": (8 + 5 + 2,),
        "dates": (2 * 14,),
        "texts": (12 + 3,),
    }
    assert all(np.isfinite(v).all() for rows in generic for row in rows for v in row.values())


def test_columns_of_a_kind_have_together_the_features_that_each_has_alone(features, tmp_path):
    for rows, others in zip(features, transformed(one_column_at_a_time, tmp_path), strict=True):
        for row, other in zip(rows, others, strict=True):
            for name in ("colour", "town", "owner", "vet"):
                assert row[name][:-1].tolist() == other[name].tolist()
            for name in ("note", "title"):
                np.testing.assert_allclose(row[name], other[name], atol=1e-6)


def test_numbers_are_z_scores_with_an_indicator_of_missing_values(features):
    train, later = features
    expected = np.array([[-1, -1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]) * [2**0.5, 1.5**0.5, 1, 1]
    np.testing.assert_allclose([row["numbers"] for row in train], expected, atol=1e-6)
    np.testing.assert_allclose(later[1]["numbers"], [10, -10, 0, 0], atol=1e-6)  # clipped at ten standard deviations


def test_a_feature_that_was_never_missing_in_training_has_no_indicator(features):
    _, (nothing, _) = features
    assert nothing["numbers"].tolist() == [0, 0, 0, 1]  # weights were missing in training, sizes never
    assert not nothing["colour"].any()
    assert not nothing["owner"].any()
    assert nothing["born"].tolist() == [0] * 13 + [1]
    assert not nothing["seen"].any()
    assert not nothing["note"].any()


def test_categories_are_one_hot_and_new_values_all_zero(features):
    train, later = features
    assert [row["colour"].sum() for row in (*train, *later)] == [1, 1, 1, 1, 0, 0]
    assert train[0]["colour"].tolist() == [1, 0, 0, 0]  # the most frequent one comes first
    assert len({tuple(row["colour"]) for row in train}) == 3
    assert (train[0]["owner"] == train[2]["owner"]).all()
    assert (train[0]["owner"] == later[1]["owner"]).all()


@pytest.mark.parametrize(
    ("row", "name", "day", "hour"),
    [
        (0, "born", date(2024, 2, 29), 0),
        (1, "born", date(2024, 3, 2), 18),
        (3, "born", date(2024, 1, 1), 0),
        (0, "seen", date(2024, 3, 1), 13.5),
        (1, "seen", date(2024, 3, 2), 0),
        (2, "seen", date(2024, 3, 3), 12),
        (3, "seen", date(2024, 3, 4), 6),
    ],
)
def test_dates_become_season_hour_and_weekday(features, row, name, day, hour):
    values = features[0][row][name]
    season = 2 * math.pi * (day.month - 1 + (day.day - 1) / 31) / 12
    daytime = 2 * math.pi * hour / 24
    circles = [math.sin(season), math.cos(season), math.sin(daytime), math.cos(daytime)]
    np.testing.assert_allclose(values[2:6], circles, atol=1e-6)
    assert values[6:13].tolist() == [float(i == day.weekday()) for i in range(7)]
    assert values[13] == 0


def test_days_are_counted_by_the_calendar(features):
    days = np.array([row["seen"][0] for row in features[0]])
    np.testing.assert_allclose(days, np.array([-1.5, -0.5, 0.5, 1.5]) / 1.25**0.5, atol=1e-5)


def test_text_is_tf_idf_of_words_and_pairs(features):
    train, later = features
    np.testing.assert_allclose([np.linalg.norm(row["note"]) for row in train], [1, 1, 1, 0], atol=1e-6)
    similar, different = train[0]["note"] @ train[2]["note"], train[1]["note"] @ train[2]["note"]
    assert similar > different > 0
    assert not later[1]["note"].any()


def test_ejected_features_are_the_same(generic, tmp_path):
    from benison.pipelines.config import Pipeline
    from benison.pipelines.starting.eject import features_text

    config = Pipeline.model_validate(
        {
            "source": tmp_path / "pets.yaml",
            "name": "pets",
            "problem": "binary",
            "label": "y",
            "data": {"csv": "pets.csv"},
            "columns": COLUMNS,
            "ensemble": {"members": {"linear": None}},
        }
    )
    (tmp_path / "features.py").write_text(features_text(config))
    ejected = transformed(user_code.load(f"{tmp_path}/features.py:preprocessing_fn"), tmp_path / "work")
    for rows, others in zip(generic, ejected, strict=True):
        for row, other in zip(rows, others, strict=True):
            assert row.keys() == other.keys()
            assert all((row[name] == other[name]).all() for name in row)
