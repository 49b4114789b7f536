"""Rows for a prediction: files, missing values and refused values."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benison.serving import predict
from benison.serving.errors import DataError
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import Manifest

NA = frozenset({"", "NA"})


class _Type:
    def __init__(self, name: str, is_floating: bool = False) -> None:
        self.name, self.is_floating = name, is_floating


STRING, FLOAT, INT = _Type("string"), _Type("float32", True), _Type("int64")


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("r.csv", "a,b\n1,x\n2,\n", [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]),
        ("r.json", '[{"a": 1, "b": null}]', [{"a": 1, "b": None}]),
        ("r.json", '{"instances": [{"a": 1}]}', [{"a": 1}]),
    ],
)
def test_rows_are_read_from_csv_and_json(tmp_path: Path, name: str, text: str, rows: list) -> None:
    (tmp_path / name).write_text(text)
    assert predict.read_rows(tmp_path / name) == rows
    assert predict.read_rows(str(tmp_path / name)) == rows


def test_no_rows_have_no_predictions() -> None:
    assert predict.predict(Version(1, Path("/nope"), Manifest()), []) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "a,b\n", "no rows"),
        ("r.csv", "a,b\n1\n", "row 1: its number of cells differs from the header"),
        ("r.csv", 'a,b\n1,"2\n', "after line 1: unexpected end of data"),
        ("r.json", "{", "not JSON"),
        ("r.json", "[]", "expected a list of objects"),
        ("r.json", "[1]", "expected a list of objects"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        predict.read_rows(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        predict.read_rows(tmp_path / "none.csv")


def test_missing_values_become_the_missing_values_of_the_raw_signature() -> None:
    rows: list[dict[str, object]] = [{"x": None}, {"x": ""}, {"x": "NA"}]
    assert predict._column("x", STRING, rows, NA) == ["", "", ""]
    assert predict._column("x", INT, rows, NA) == [-1, -1, -1]
    assert all(math.isnan(v) for v in predict._column("x", FLOAT, rows, NA))


def test_values_are_converted_to_the_signatures_type() -> None:
    assert predict._column("x", FLOAT, [{"x": "1.5"}, {"x": 2}], NA) == [1.5, 2.0]
    assert predict._column("x", INT, [{"x": "3"}], NA) == [3]
    assert predict._column("x", STRING, [{"x": 3}], NA) == ["3"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"y": 1}, "row 1: no column 'x'; it has y"),
        ({"x": "heavy"}, "row 1, column 'x': got 'heavy', expected a number"),
    ],
)
def test_a_bad_row_is_named(row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        predict._column("x", FLOAT, [row], NA)


def test_predictions_name_their_classes() -> None:
    assert predict._named(["a", "b"], np.array([0.25, 0.75])) == {"a": 0.25, "b": 0.75}


def test_a_csv_is_read_with_the_pipelines_delimiter_and_encoding(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("Ort;n\nZürich;1,5\n".encode("latin-1"))
    assert predict.read_rows(file, delimiter=";", encoding="latin-1") == [{"Ort": "Zürich", "n": "1,5"}]
