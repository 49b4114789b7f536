"""The keys of members that were trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benison.pipelines import config_file
from benison.pipelines.config import Pipeline
from benison.serving.errors import UsageError

MODEL: dict[str, Any] = {
    "kind": "saved_model",
    "path": "models/risk",
    "inputs": {"numbers": ["size", "legs"], "colour": "colour"},
    "classes": [False, True],
    "learnt_from": "other_data",
}


def load(folder: Path, changes: dict[str, Any], **ensemble: Any) -> Pipeline:
    (folder / "models/risk").mkdir(parents=True, exist_ok=True)
    (folder / "models/risk/saved_model.pb").touch()
    (folder / "d.csv").write_text("size,legs,colour,big\n1,2,red,yes\n")
    member = {key: value for key, value in {**MODEL, **changes}.items() if value is not None}
    document = {
        "name": "birds",
        "problem": "binary",
        "label": "big",
        "data": {"csv": "d.csv"},
        "columns": {"size": "number", "colour": "ignore"},
        "ensemble": {"members": {"linear": {"kind": "linear"}, "risk": member}, **ensemble},
    }
    (folder / "birds.yaml").write_text(yaml.safe_dump(document))
    return config_file.load(folder / "birds.yaml")


def test_a_finished_model_is_read_and_stays_the_same_as_plain_data(tmp_path: Path) -> None:
    config = load(tmp_path, {}, combiner="stacking")
    member = config.ensemble.members["risk"]
    assert (member.path, member.classes) == (str(tmp_path / "models/risk"), ("false", "true"))
    assert member.inputs == {"numbers": ("size", "legs"), "colour": ("colour",)}
    assert config.foreign_columns == ["colour", "legs", "size"]
    assert {"colour", "legs"} <= config.used_columns  # although the features leave them out
    assert "ensemble.members.risk" not in config.references
    assert Pipeline.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("changes", "ensemble", "message"),
    [
        ({"epochs": 3}, {}, r"members\.risk\.epochs: got 3, but a finished model is not trained"),
        ({"tuner": {"space": {"a": [1, 2]}}}, {}, r"members\.risk\.tuner: got a mapping, but a finished model is not trained"),
        ({"function": "deep"}, {}, r"members\.risk\.function: got 'deep', but a finished model is not trained"),
        ({"path": None}, {}, r"members\.risk\.path: missing; a member of kind saved_model needs the path of its model"),
        ({"path": "models"}, {}, r"members\.risk\.path: .*/models is no SavedModel: it has no file saved_model\.pb"),
        ({"inputs": None}, {}, r"members\.risk\.inputs: missing; name the column of each input of the model"),
        ({"classes": None}, {}, r"members\.risk\.classes: missing; name the class of each column of the model's output"),
        ({"missing": {"age": 1}}, {}, r"members\.risk\.missing\.age: no input of the model has the column 'age'"),
        ({"kind": "linear"}, {}, r"members\.risk\.path: only a member of kind saved_model, onnx has this key, and this one is linear"),
        ({"learnt_from": None}, {"combiner": "stacking"}, r"ensemble\.combiner: the member risk may have learnt from the rows"),
        ({"learnt_from": "these_rows"}, {"calibration": "temperature"}, r"ensemble\.calibration: the member risk may have"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_finished_model_is_refused(
    changes: dict[str, Any], ensemble: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        load(tmp_path, changes, **ensemble)


def test_weights_of_ones_own_need_no_proof(tmp_path: Path) -> None:
    weights = {"linear": 1, "risk": 2}
    assert load(tmp_path, {"learnt_from": None}, combiner="weighted_mean", weights=weights).unproven == ["risk"]
