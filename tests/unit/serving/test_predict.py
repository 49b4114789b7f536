"""Rows for a prediction: files, missing values and refused values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from benison.components.ingest.csv_table import CsvTable
from benison.serving import number_text, predict
from benison.serving.errors import DataError
from benison.serving.missing_values import MISSING_INTEGER
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
        (
            "r.jsonl",
            '{"a": 1, "b": null}\n\n{"a": 2.0, "c": [true]}\r\n',
            [{"a": 1, "b": None}, {"a": "2.0", "c": [True]}],
        ),
        ("r.ndjson", '{"a": true, "b": "x"}', [{"a": "true", "b": "x"}]),
    ],
)
def test_rows_are_read_from_csv_and_json(tmp_path: Path, name: str, text: str, rows: list) -> None:
    (tmp_path / name).write_text(text)
    assert predict.read_rows(tmp_path / name) == rows
    assert predict.read_rows(str(tmp_path / name)) == rows


def test_rows_are_read_from_parquet(tmp_path: Path) -> None:
    rows = [{"a": 1, "b": "x", "c": None, "d": [1]}, {"a": None, "b": "y", "c": 2.5, "d": []}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    assert predict.read_rows(tmp_path / "r.parquet") == [
        {"a": "1", "b": "x", "c": "", "d": ["1"]},
        {"a": "", "b": "y", "c": "2.5", "d": []},
    ]
    (_, row) = predict.read_rows(tmp_path / "r.parquet")
    assert number_text.finite_number(row["c"], "1.234,5") == 2.5  # the form is that of a CSV


def test_no_rows_have_no_predictions() -> None:
    assert predict.predict(Version(1, Path("/nope"), Manifest()), []) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "a,b\n", "no rows"),
        ("r.csv", "a,b\n1\n", "line 2: 1 cells, expected 2 as in the header"),
        ("r.csv", 'a,b\n1,"2\n', "from line 2: unexpected end of data"),
        ("r.csv", "", "file is empty; expected a header line"),
        ("r.csv", "a,b,a\n1,2,3\n", "line 1: column 'a' appears more than once"),
        ("r.csv", "a,\n1,2\n", "line 1: column 2 has no name"),
        ("r.csv", "a,b\n1,\0\n", "from line 2: a NUL byte"),
        ("r.json", "{", "not JSON"),
        ("r.jsonl", '{"a": 1}\n{"a": \n', "r.jsonl, line 2: not JSON"),
        ("r.jsonl", "[1]", "r.jsonl, line 1: expected an object"),
        ("r.jsonl", "\n", "no rows; expected at least one row"),
        ("r.parquet", "PAR1", "r.parquet: not Parquet, or damaged"),
        ("r.json", "[]", "expected a list of objects"),
        ("r.json", "[1]", "expected a list of objects"),
        ("r.json", "[[1, 2]]", "expected a list of objects"),
        ("r.json", "null", "expected a list of objects"),
        ("r.json", '[{"a": 1, "a": 2}]', "r.json: an object has the key 'a' more than once"),
        ("r.json", "[" * 100_000, "r.json: its lists or objects are nested too deep"),
        ("r.json", f'[{{"a": {"9" * 5000}}}]', "not JSON: Exceeds the limit"),
    ],
)
def test_a_file_that_is_neither_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        predict.read_rows(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        predict.read_rows(tmp_path / "none.csv")


def cells(dtype: _Type, missing: object = None, **options: Any) -> Any:
    return predict._Cells("x", dtype, NA, missing=missing, **options)


@pytest.mark.parametrize("cell", [{"x": None}, {"x": ""}, {"x": "NA"}, {"x": math.nan}, {}])
def test_a_missing_cell_becomes_the_versions_value_for_one(cell: dict) -> None:
    assert cells(STRING, "").values([cell]) == [""]
    assert cells(INT, MISSING_INTEGER).values([cell]) == [MISSING_INTEGER]
    assert math.isnan(cells(FLOAT, math.nan).values([cell])[0])


def test_an_infinite_mark_is_missing_among_numbers_only() -> None:
    types = {"x": FLOAT, "word": STRING}
    described = {name: {"column": name, "type": dtype.name} for name, dtype in types.items()}
    rows = [{"x": "inf", "word": "inf"}]
    read = predict._cells(Version(1, Path("/nope"), Manifest(missing=("", "inf"))), described, types, rows)
    with pytest.raises(DataError, match="row 1, column 'x': no value"):
        read["x"].values(rows)
    assert read["word"].values(rows) == ["inf"]


@pytest.mark.parametrize("dtype", [STRING, INT, FLOAT], ids=lambda dtype: dtype.name)
def test_a_missing_cell_of_a_required_column_is_refused(dtype: _Type) -> None:
    for cell in (None, "", "NA", math.nan):
        with pytest.raises(DataError, match="row 2, column 'x': no value, but the schema requires one in every row"):
            cells(dtype).values([{"x": 1}, {"x": cell}])


def test_an_absent_column_that_is_probably_misspelt_is_refused() -> None:
    with pytest.raises(DataError, match="row 1: no column 'body_mass'; did you mean 'body_mas'"):
        predict._Cells("body_mass", INT, NA, missing=-1, unused=frozenset({"body_mas"})).values([{"body_mas": 1}])


def test_messages_and_misspellings_are_about_the_column_as_the_user_writes_it() -> None:
    city = predict._Cells("Cittue0", STRING, NA, missing="", unused=frozenset({"Citta"}), column="Città")
    with pytest.raises(DataError, match=r"row 1: no column 'Città'; did you mean 'Citta'"):
        city.values([{"Citta": "Roma"}])
    with pytest.raises(DataError, match=r"row 1, column 'Città': got 5\.0, expected text"):
        city.values([{"Cittue0": 5.0}])


def test_values_are_converted_to_the_signatures_type() -> None:
    assert cells(FLOAT).values([{"x": "1.5"}, {"x": 2}]) == [1.5, 2.0]
    assert cells(INT).values([{"x": "3"}, {"x": -1}, {"x": 4.0}]) == [3, -1, 4]
    assert cells(STRING).values([{"x": 3}]) == ["3"]
    assert cells(FLOAT, form=",").values([{"x": "1,5"}]) == [1.5]
    assert cells(FLOAT, form="1,234.5").values([{"x": "$1,200"}, {"x": 1200}]) == [1200, 1200]


@pytest.mark.parametrize(
    ("dtype", "row", "message"),
    [
        (FLOAT, {"y": 1}, "row 1: no column 'x'; it has y"),
        (FLOAT, {"x": "heavy"}, "row 1, column 'x': got 'heavy', expected a finite number"),
        (FLOAT, {"x": "nan"}, "row 1, column 'x': got 'nan', expected a finite number"),
        (INT, {"x": 3.7}, "row 1, column 'x': got 3.7, expected a whole number above -9007199254740991"),
        (FLOAT, {"x": "1_0"}, "got '1_0', expected a finite number"),
        (FLOAT, {"x": 1e39}, r"got 1e\+39, expected a finite number"),  # infinite as float32
        (FLOAT, {"x": True}, "got true, expected a finite number"),
        (INT, {"x": "1_0"}, "got '1_0', expected a whole number"),
        (INT, {"x": 2**63}, "got 9223372036854775808, expected a whole number"),
        (INT, {"x": np.float32(3.5)}, "got 3.5, expected a whole number"),
        (STRING, {"x": 5.0}, "got 5.0, expected text"),
        (STRING, {"x": True}, "got true, expected text"),
        (STRING, {"x": ["a"]}, r'got \["a"\], expected text'),
        (STRING, {"x": {"a": None}}, r'got {"a": null}, expected text'),
        (STRING, {"x": "\ud800"}, r"got '\\ud800', expected text"),
        (INT, {"x": 3.9}, "got 3.9, expected a whole number"),
        (INT, {"x": "3.9"}, "got '3.9', expected a whole number"),
        (INT, {"x": [3]}, r"got \[3\], expected a whole number"),
        (INT, {"x": [[3], [4]]}, r"got \[\[3\], \[4\]\], expected a whole number"),
        (INT, {"x": False}, "got false, expected a whole number"),
        (INT, {"x": 1e300}, r"got 1e\+300, expected a whole number"),
        (INT, {"x": -(2**63) - 1}, "got -9223372036854775809, expected a whole number"),
        (INT, {"x": math.inf}, "got Infinity, expected a whole number"),
        (FLOAT, {"x": [0.5]}, r"got \[0.5\], expected a finite number"),
        (FLOAT, {"x": 10**400}, "got 1000.*, expected a finite number"),
        (FLOAT, {"x": -math.inf}, "got -Infinity, expected a finite number"),
        (INT, {"x": MISSING_INTEGER}, "got -9007199254740991, expected a whole number above -9007199254740991"),
    ],
)
def test_a_bad_row_is_named(dtype: _Type, row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        cells(dtype).values([row])


def test_the_version_decides_which_column_is_an_input() -> None:
    described = {
        "body_mass": {"column": "body mass", "type": "int64"},
        "a_b": {"column": "a_b", "type": "int64"},
        "a_b_2": {"column": "a b", "type": "int64"},
    }
    assert predict._by_input({"body mass": 1, "body_mass": 2, "a b": 3}, described) == {"body_mass": 1, "a_b_2": 3}
    assert predict._by_input({"body_mass": 2, "a_b_2": 3, "other": 4}, described) == {
        "body_mass": 2,
        "a_b_2": 3,
        "other": 4,
    }


def test_an_answer_that_is_no_number_is_refused_and_names_row_and_column(tmp_path: Path) -> None:
    import tensorflow as tf

    class Root(tf.Module):
        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.float32, "mass"), tf.TensorSpec([None], tf.float32, "x")]
        )
        def raw(self, mass: Any, x: Any) -> Any:
            return {"prediction": (mass * mass + 1.0 / x)[:, None]}

    root = Root()
    tf.saved_model.save(root, str(tmp_path), signatures={"raw": root.raw})
    version = Version(1, tmp_path, Manifest())
    good, huge, zero = {"mass": 2.0, "x": 1.0}, {"mass": 1e38, "x": 1.0}, {"mass": 2.0, "x": 0.0}
    assert predict.predict(version, [good], verify=False)[0].output == {"prediction": 5.0}
    with pytest.raises(
        DataError, match=r"row 2: the answer of the ensemble is NaN or infinite; the largest .* in 'mass';"
    ):
        predict.predict(version, [good, huge], verify=False)
    with pytest.raises(DataError, match=r"row 1 \(the first of 2\): the answer of the ensemble is NaN or infinite"):
        predict.predict(version, [zero, zero], verify=False)


def test_predictions_name_their_classes() -> None:
    assert predict._named(["a", "b"], np.array([0.25, 0.75])) == {"a": 0.25, "b": 0.75}


def test_a_csv_is_read_as_training_data_is(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes('a,b\r\n1,"two\r\nlines"\r\n\r\n2,"""x"""\r\n'.encode("utf-8-sig"))
    for encoding in ("utf-8", "UTF8", "u8"):
        rows = predict.read_rows(file, encoding=encoding)
        table = CsvTable((str(file),), encoding=encoding)
        assert rows == [dict(zip(table.header, row.cells, strict=True)) for row in table.rows()]
        assert rows == [{"a": "1", "b": "two\r\nlines"}, {"a": "2", "b": '"x"'}]


def test_a_csv_is_read_with_the_pipelines_delimiter_and_encoding(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes("Ort;n\nZürich;1,5\n".encode("latin-1"))
    assert predict.read_rows(file, delimiter=";", encoding="latin-1") == [{"Ort": "Zürich", "n": "1,5"}]
