"""The example request that `benison serve` prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from benison.serving import example_request, missing_values
from benison.serving.versions.local import SCHEMA, Version
from benison.serving.versions.manifest import Manifest

ARGUMENTS = {"bill_length__mm_": "float32", "year": "int64", "island": "string"}


def version(folder: Path, signature: str = "raw", **manifest: Any) -> Version:
    """Write a SavedModel with signatures only."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    inputs = model.meta_graphs.add().signature_def[signature].inputs
    for name, kind in ARGUMENTS.items():
        inputs[name].dtype = tf.as_dtype(kind).as_datatype_enum
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return Version(1, folder, Manifest(**manifest))


def row(length: str = "39.1", year: str = "2007", island: str = "Dream") -> dict[str, str]:
    return {"bill length (mm)": length, "year": year, "island": island, "another column": "x"}


def test_the_first_complete_row_is_used_with_the_signatures_names_and_types(tmp_path: Path) -> None:
    made = version(tmp_path, missing=["", "NA"])
    rows = [row(length="NA"), row(length=""), row(), row(island="Biscoe")]
    assert example_request.instance(made, rows) == {"bill_length__mm_": 39.1, "island": "Dream", "year": 2007}


def test_a_version_that_names_its_columns_is_asked_by_them(tmp_path: Path) -> None:
    made = version(tmp_path, missing=[""])
    inputs = {name: (column, ARGUMENTS[name], True) for name, column in zip(ARGUMENTS, row(), strict=False)}
    missing_values.write(tmp_path, missing_values.describe(inputs))
    asked = {"bill length (mm)": 39.1, "island": "Dream", "year": 2007}
    assert example_request.instance(made, [row()]) == asked
    assert example_request.instance(made) == {"bill length (mm)": 0.0, "island": "", "year": 0}


def test_a_row_writes_numbers_as_the_files_of_the_pipeline_do(tmp_path: Path) -> None:
    made = version(tmp_path, decimal=",", amounts={"year": "1,234.5"})
    inputs = {name: (column, ARGUMENTS[name], True) for name, column in zip(ARGUMENTS, row(), strict=False)}
    missing_values.write(tmp_path, missing_values.describe(inputs))
    asked = {"bill length (mm)": 39.1, "island": "Dream", "year": 2007}
    assert example_request.instance(made, [row(length="39,1", year="$2,007")]) == asked


@pytest.mark.parametrize("rows", [[], [{"island": "Dream"}], [row(year="soon")]])
def test_without_a_usable_row_there_is_a_plausible_one(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    made = version(tmp_path)
    schema = tmp_path / SCHEMA
    schema.parent.mkdir(parents=True)
    schema.write_text(
        'feature { name: "bill length (mm)" type: FLOAT float_domain { min: 30 max: 50 } }'
        'feature { name: "year" type: INT int_domain { min: 2007 } }'
        'feature { name: "island" type: BYTES string_domain { value: "Biscoe" value: "Dream" } }'
    )
    assert example_request.instance(made, rows) == {"bill_length__mm_": 40.0, "island": "Biscoe", "year": 2007}


def test_without_a_schema_the_types_are_right(tmp_path: Path) -> None:
    assert example_request.instance(version(tmp_path)) == {"bill_length__mm_": 0.0, "island": "", "year": 0}


def test_a_model_without_the_signature_has_no_example(tmp_path: Path) -> None:
    assert example_request.instance(version(tmp_path, signature="serving_default")) is None


def test_the_shell_reads_the_line_unchanged(tmp_path: Path) -> None:
    line = example_request.curl("localhost:1", "m", {"text": 'it\'s "so" é $HOME'})
    command, url, option, body = shlex.split(line)
    assert (command, url, option) == ("curl", "http://localhost:1/v1/models/m:predict", "-d")
    assert json.loads(body) == {"signature_name": "raw", "instances": [{"text": 'it\'s "so" é $HOME'}]}


def test_without_an_example_the_line_requests_the_metadata() -> None:
    assert example_request.curl("localhost:1", "m", None) == "curl http://localhost:1/v1/models/m/metadata"
