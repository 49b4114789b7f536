"""The models: defaults, resolved paths and references, and the round trip to another process."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benison.pipelines.config import Pipeline, Range, Splits

WRITTEN: dict[str, Any] = {
    "name": "flights",
    "problem": "binary",
    "label": "late",
    "data": {"csv": "data/*.csv"},
    "features": "features.py",
    "models": "my_package.models",
    "ensemble": {"members": {"linear": None, "deep": {"function": "more.py:make_deep"}}},
}


def pipeline(**changes: Any) -> Pipeline:
    return Pipeline.model_validate({"source": "/home/me/configs/flights.yaml", **copy.deepcopy(WRITTEN), **changes})


def members(**keys: Any) -> dict[str, Any]:
    return {"members": {"deep": keys}}


def test_missing_keys_have_defaults():
    read = pipeline()
    assert read.splits == Splits(train=6, valid=1, blend=1, test=2)
    assert read.data.missing == ("",)
    assert read.schema_path == Path("/home/me/configs/schemas/flights.pbtxt")
    assert (read.blessing.confidence, read.blessing.resamples, read.blessing.rules) == (0.95, 1000, ())
    assert (read.slices, read.beam, read.ensemble.combiner) == ((), (), "mean")


@pytest.mark.parametrize(("problem", "metric"), [("binary", "auc"), ("multiclass", "accuracy"), ("regression", "rmse")])
def test_the_metric_follows_from_the_problem(problem, metric):
    assert pipeline(problem=problem).metric == metric


def test_paths_are_relative_to_the_yaml_and_references_stand_alone():
    read = pipeline(schema="../flights.pbtxt")
    assert read.data.csv == "/home/me/configs/data/*.csv"
    assert read.schema_path == Path("/home/me/flights.pbtxt")
    assert read.features == "/home/me/configs/features.py:preprocessing_fn"
    assert read.ensemble.members["linear"].function == "my_package.models:linear"
    assert read.ensemble.members["deep"].function == "/home/me/configs/more.py:make_deep"


def test_members_of_benisons_own_kinds_need_no_module_of_models():
    written = {key: value for key, value in WRITTEN.items() if key != "models"}
    of_kinds = {"members": {"straight": {"kind": "linear"}, "boosted": {"kind": "trees"}, "deep": None}}
    read = Pipeline.model_validate({"source": "/home/me/flights.yaml", **written, "ensemble": of_kinds})
    assert read.features == "/home/me/features.py:preprocessing_fn"
    assert read.ensemble.members["deep"].function == "benison.pipelines.generic.models:deep"


def test_a_trial_lasts_as_long_as_the_training_unless_said_otherwise():
    space = {"units": [1, 2]}
    inherited = pipeline(ensemble=members(epochs=9, tuner={"space": space}))
    own = pipeline(ensemble=members(epochs=9, tuner={"space": space, "epochs": 3}))
    assert [p.ensemble.members["deep"].tuner.epochs for p in (inherited, own)] == [9, 3]


def test_a_space_holds_choices_and_ranges():
    space = {
        "units": [16, 32],
        "mixed": [1, 0.5],
        "on": [True, False],
        "whole": {"min": 1, "max": 9, "step": 2},
        "rate": {"min": 0.1, "max": 1, "sampling": "log"},
    }
    read = pipeline(ensemble=members(tuner={"space": space})).ensemble.members["deep"].tuner.space
    assert read["units"] == (16, 32)
    assert read["mixed"] == (1.0, 0.5)
    assert all(type(value) is float for value in read["mixed"])
    assert read["on"] == (True, False)
    assert [type(value) for value in read.values()] == [tuple, tuple, tuple, Range, Range]
    assert [value.integer for value in read.values() if isinstance(value, Range)] == [True, False]


def test_a_pipeline_survives_serialization():
    sent = pipeline(
        ensemble=members(hyperparameters={"rate": 1.0, "depth": 1, "on": True}, tuner={"space": {"a": [1, 2]}}),
        blessing={"rules": [{"metric": "auc", "min": 0.7}]},
    )
    arrived = Pipeline.model_validate(json.loads(json.dumps(sent.model_dump(mode="json"))))
    assert arrived == sent
    fixed = arrived.ensemble.members["deep"].hyperparameters
    assert [type(fixed[key]) for key in ("rate", "depth", "on")] == [float, int, bool]


def test_a_folder_may_hold_a_colon():
    sent = pipeline(source="/home/me: work/flights.yaml")
    assert sent.features == "/home/me: work/features.py:preprocessing_fn"
    assert Pipeline.model_validate(sent.model_dump(mode="json")) == sent


def test_a_pipeline_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        pipeline().seed = 3


def test_csv_files_are_sorted(tmp_path):
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / name).touch()
    read = pipeline(data={"csv": f"{tmp_path}/*.csv"})
    assert read.files() == [tmp_path / "a.csv", tmp_path / "b.csv"]


def test_user_code_names_the_file_of_a_function(tmp_path):
    file = tmp_path / "features.py"
    file.touch()
    assert pipeline(features=f"{file}:prepare").user_code("features").functions == (f"{file}:prepare",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"min": 3, "max": 1}, "min 3 is not below max 1"),
        ({"min": 0, "max": 1, "sampling": "log"}, "got min 0 with sampling log, expected min > 0"),
        ({"min": 0, "max": 9, "step": 0.5}, "got step 0.5, expected an integer > 0"),
        ({"min": 0.1, "max": 9, "step": 1, "sampling": "log"}, "got step 1, expected a number > 1"),
    ],
)
def test_a_range_that_cannot_be_sampled_is_refused(written, message):
    with pytest.raises(ValidationError, match=message):
        Range.model_validate(written)


SPLITS = {"train": 6, "valid": 1, "blend": 1, "test": 2}


@pytest.mark.parametrize(
    "changes",
    [
        {"metric": "rmse"},
        {"blessing": {"rules": [{"metric": "rmse", "max": 1}]}},
        {"slices": ["late"]},
        {"target": "auto"},
        {"splits": {**SPLITS, "by": "late"}},
        {"splits": {**SPLITS, "by": "customer"}, "columns": {"customer": "hashed", "age": "number"}},
        {"weight": "late"},
        {"weight": "customer", "splits": {**SPLITS, "by": "customer"}},
        {"weight": "counts", "columns": {"counts": "number", "age": "number"}},
        {"ensemble": members(hyperparameters={"a": 1}, tuner={"space": {"a": [1, 2]}})},
    ],
)
def test_keys_that_contradict_each_other_are_refused(changes):
    with pytest.raises(ValidationError, match="1 validation error"):
        pipeline(**changes)


def test_the_column_that_keeps_rows_together_is_no_feature_and_no_hash_bucket():
    read = pipeline(splits={**SPLITS, "by": "customer"}, columns={"customer": "ignore", "age": "number"})
    assert read.splits.buckets == SPLITS
    assert list(read.withheld) == ["customer"]
    assert pipeline(weight="counts", columns={"counts": "ignore", "age": "number"}).withheld == {
        "counts": "which weight names"
    }


def test_the_models_publish_a_json_schema():
    assert Pipeline.model_json_schema()["properties"]["label"]["description"] == "the column to predict"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"csv": "a.csv", "tfrecord": "a.tfrecord"}, "got csv and tfrecord, expected one of csv and tfrecord"),
        ({"missing": [""]}, "got neither, expected one of csv and tfrecord"),
        ({"csv": "a.csv", "encoding": "utf-9"}, "no such encoding"),
        ({"csv": "a.csv", "delimiter": ";;"}, "one character"),
    ],
)
def test_files_that_cannot_be_read_so_are_refused(data, message):
    with pytest.raises(ValidationError, match=message):
        pipeline(data=data)
