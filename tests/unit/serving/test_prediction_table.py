"""The table of predictions that `benison predict --output` writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from benison.serving import prediction_table
from benison.serving.errors import UsageError
from benison.serving.predict import Prediction
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import Manifest

CLASSES = Version(7, Path("7"), Manifest(positive="yes"))
KEYS = {"id": pa.array(["01", "02"]), "n": pa.array([1, None])}
PREDICTIONS = [
    Prediction({"no": 0.75, "yes": 0.25}, {"deep": {"no": 0.5, "yes": 0.5}}, "yes", {"deep": "no"}),
    Prediction({"no": 0.875, "yes": 0.125}, {"deep": {"no": 0.25, "yes": 0.75}}, "no", {"deep": "yes"}),
]


def test_classes_have_their_decision_and_the_positive_probability_first() -> None:
    table = prediction_table.build(CLASSES, KEYS, PREDICTIONS)
    assert table.to_pydict() == {
        "id": ["01", "02"],
        "n": [1, None],
        "prediction": ["yes", "no"],
        "probability": [0.25, 0.875],
        "probability yes": [0.25, 0.125],
        "probability no": [0.75, 0.875],
        "deep prediction": ["no", "yes"],
        "deep probability": [0.5, 0.75],
        "deep probability yes": [0.5, 0.75],
        "deep probability no": [0.5, 0.25],
        "version": [7, 7],
    }
    assert list(table.column_names)[:5] == ["id", "n", "prediction", "probability", "probability yes"]


def test_a_regression_has_its_number() -> None:
    predictions = [Prediction({"prediction": 2.5}, {"trees": {"prediction": 3.0}})]
    table = prediction_table.build(Version(7, Path("7"), Manifest()), {}, predictions)
    assert table.to_pydict() == {"prediction": [2.5], "trees prediction": [3.0], "version": [7]}


def test_a_key_that_the_answers_have_is_refused() -> None:
    with pytest.raises(UsageError, match="--key version: the answers have a column 'version', too"):
        prediction_table.build(CLASSES, {"version": pa.array(["1", "2"])}, PREDICTIONS)
