"""The values of missing cells: in files beside a SavedModel, and in the rows and columns of a request."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.serving import missing_values
from benison.serving.errors import VersionError
from benison.serving.missing_values import MISSING_INTEGER

COLUMNS = {
    "age": ("age", "int64", True),
    "fare": ("fare", "float32", True),
    "home_town": ("home town", "string", True),
    "class": ("class", "int64", False),
}
MISSING = {"age": MISSING_INTEGER, "fare": math.nan, "home_town": ""}


def equal(a: Any, b: Any) -> bool:
    """Compare as JSON, in which NaN equals NaN."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def test_the_missing_integer_is_exact_in_javascript() -> None:
    assert int(float(MISSING_INTEGER)) == MISSING_INTEGER == -(2**53 - 1)


def test_the_file_names_the_value_of_each_input_that_may_be_missing_in_strict_json(tmp_path: Path) -> None:
    missing_values.write(tmp_path, missing_values.describe(COLUMNS))
    text = (tmp_path / missing_values.FILE).read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not strict JSON"))
    inputs = missing_values.read_inputs(tmp_path)
    assert inputs is not None
    assert inputs["home_town"] == {"column": "home town", "type": "string", "missing": ""}
    assert inputs["class"] == {"column": "class", "type": "int64"}
    assert equal(missing_values.markers(inputs), MISSING)


def test_the_file_has_the_order_of_the_columns_in_the_signature_packed(tmp_path: Path) -> None:
    described = missing_values.describe(COLUMNS)
    missing_values.write(tmp_path, described, {"int64": ["age", "class"], "float32": ["fare"], "string": ["home_town"]})
    assert missing_values.read_packed(tmp_path) == {
        "int64": ("age", "class"),
        "float32": ("fare",),
        "string": ("home_town",),
    }
    missing_values.write(tmp_path, described)
    assert missing_values.read_packed(tmp_path) == {}


def test_a_version_without_the_file_does_not_say(tmp_path: Path) -> None:
    assert missing_values.read_inputs(tmp_path) is None
    assert missing_values.read_packed(tmp_path) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "inputs": {"a": 3}}', '{"format": 2}'])
def test_a_broken_or_newer_file_is_an_error(tmp_path: Path, text: str) -> None:
    missing_values.write(tmp_path, {})
    (tmp_path / missing_values.FILE).write_text(text)
    with pytest.raises(VersionError, match=r"raw_inputs\.json: "):
        missing_values.read_inputs(tmp_path)


def test_null_and_an_absent_key_of_a_row_become_the_value_of_a_missing_cell() -> None:
    rows = [{"age": None, "fare": 1.5, "home_town": "", "class": 1}, {"class": None}, 3]
    filled = missing_values.fill_rows(rows, MISSING)
    assert equal(
        filled,
        [
            {"age": MISSING_INTEGER, "fare": 1.5, "home_town": "", "class": 1},
            {"age": MISSING_INTEGER, "fare": math.nan, "home_town": "", "class": None},
            3,
        ],
    )


def test_rows_and_columns_without_a_missing_cell_are_not_copied() -> None:
    rows = [{"age": -1, "fare": 0.0, "home_town": "x"}]
    columns = {"age": [-1], "fare": np.array([0.0]), "home_town": ["x"]}
    assert missing_values.fill_rows(rows, MISSING) is rows
    assert missing_values.fill_columns(columns, MISSING) is columns
    assert missing_values.fill_arrays(columns, MISSING) is columns


def test_null_and_an_absent_column_become_columns_of_missing_cells() -> None:
    arrays = missing_values.fill_arrays(
        {"class": [1, 2], "age": [None, -1], "fare": np.array([None, 2.5], object)}, MISSING
    )
    assert arrays["class"] == [1, 2]
    assert arrays["age"].tolist() == [MISSING_INTEGER, -1]
    assert arrays["age"].dtype == np.int64
    assert np.isnan(arrays["fare"][0])
    assert arrays["fare"].dtype == np.float32
    assert arrays["home_town"].tolist() == ["", ""]


def test_an_array_without_dimensions_does_not_tell_how_long_an_absent_column_is() -> None:
    columns = {"class": np.array(1)}
    assert missing_values.fill_columns(columns, MISSING) is columns


def test_columns_of_different_lengths_do_not_tell_how_long_an_absent_one_is() -> None:
    columns = {"class": [1, 2], "fare": [1.0]}
    assert missing_values.fill_columns(columns, MISSING) is columns
