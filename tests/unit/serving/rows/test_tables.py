"""Tables of JSON lines and Parquet: as text, like a CSV."""

from __future__ import annotations

import datetime
import decimal
import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benison.serving.errors import DataError
from benison.serving.rows import tables

DAY = datetime.datetime(2024, 1, 31, 17, 30)
LONG = f'{{"a": "{"x" * 1000}"}}\n' * 5000  # more than what is read at once
BERLIN = pa.timestamp("s", "Europe/Berlin")


def read(file: Path) -> list[tuple[str, list[str]]]:
    """Return the place and the cells of each row."""
    columns = tables.header(str(file))
    return [(row.place, row.cells) for chunk in tables.chunks(str(file), columns) for row in chunk.rows()]


def lines(folder: Path, text: str, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", b"a,b\n1,2\n", "CSV"),
        ("a.csv", b'{"a": 1}\n{"a": 2}\n', "JSON lines"),
        ("a.csv", gzip.compress(b'\xef\xbb\xbf{"a": 1}', mtime=0), "JSON lines"),
        ("a.csv", b"{a},b\n1,2\n", "CSV"),
        ("a.ndjson.gz", gzip.compress(b"[1]\n", mtime=0), "JSON lines"),
        ("1.jsonl.csv", b"", "JSON lines"),
        ("a.csv", b"PAR1...", "Parquet"),
        ("a.parquet", b"", "Parquet"),
        ("a.json", b"[\n", "JSON lines"),
    ],
)
def test_content_or_name_says_the_form(tmp_path, name, content, form):
    (tmp_path / name).write_bytes(content)
    assert tables.form_of(str(tmp_path / name)) == form


def test_json_lines_are_read_as_they_are_written(tmp_path):
    file = lines(
        tmp_path,
        '{"a": 1.50, "b": "x, \\"y\\"", "c": true, "d": 12345678901234567890, "e": NaN}\n\n'
        '{"b": null, "a": 1e3, "c": false, "d": -0.0, "e": "ü"}\n',
    )
    assert tables.header(str(file)) == ["a", "b", "c", "d", "e"]
    assert read(file) == [
        ("line 1", ["1.50", 'x, "y"', "true", "12345678901234567890", ""]),
        ("line 3", ["1e3", "", "false", "-0.0", "ü"]),
    ]
    assert tables.numbers(str(file)) == {"a", "d"}


def test_lists_are_columns_of_many_values(tmp_path):
    (chunk,) = tables.chunks(str(lines(tmp_path, '{"a": [1, null], "b": 2}\n{"b": 3}\n')), ["a", "b"])
    assert (chunk.is_list(0), chunk.is_list(1)) == (True, False)
    assert chunk.batch().column(0).to_pylist() == [["1", ""], []]
    assert [row.cells for row in chunk.rows()] == [['["1", ""]', "2"], ["", "3"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": {"b": 2}}\n', r"rows.jsonl, line 2, key 'a': got {\"b\": \"2\"}, expected a value per row"),
        (LONG + '{"a": [2]}\n', r"line 5001, key 'a': got \[\"2\"\], expected one value"),
        ('{"a": [1]}\n{"a": 2}\n', r"line 2, key 'a': got \"2\", expected a list"),
        ('{"a": [[1]]}\n', r"line 1, key 'a': got \[\"1\"\], expected one value"),
        ('{"a": 1}\n{"a": 2', r"line 2: not JSON"),
        ('{"a": 1, "a": 2}\n', "line 1: an object has the key 'a' more than once"),
        ("[1]\n", "line 1: expected an object in each line"),
        ("\n\n", "no rows; expected at least one row"),
        ('{"a": "\\ud800"}\n', "line 1, key 'a': .* half of a character"),
    ],
)
def test_what_is_no_table_is_refused_with_line_and_key(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read(lines(tmp_path, text))


def test_a_key_that_only_later_lines_have_is_refused(tmp_path):
    file = lines(tmp_path, LONG + '{"b": 1}\n')
    with pytest.raises(DataError, match=r"line 5001: the key 'b' is in none of the first lines"):
        read(file)


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (pa.array([1, None, -(2**63)]), ["1", "", str(-(2**63))]),
        (pa.array([5.0, 1e-7, None, float("nan"), 1e16]), ["5.0", "1e-07", "", "", "1e+16"]),
        (pa.array([0.1, None], pa.float32()), ["0.1", ""]),
        (pa.array([decimal.Decimal("12.50"), None]), ["12.50", ""]),
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array(["x", None, "x"]).dictionary_encode(), ["x", "", "x"]),
        (pa.array([DAY.date(), None]), ["2024-01-31", ""]),
        (pa.array([DAY], pa.timestamp("ms")), ["2024-01-31 17:30:00"]),
        (pa.array([1706722200123456789], pa.timestamp("ns")), ["2024-01-31 17:30:00.123456789"]),
        (pa.array([DAY], BERLIN), ["2024-01-31 18:30:00+0100"]),
        (pa.array([datetime.time(7, 30)]), ["07:30:00"]),
        (pa.nulls(2), ["", ""]),
        (pa.array([[1.5, None], None, []]), ['["1.5", ""]', "", ""]),
        (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), ['["1", "2"]']),
        (pa.array([b"x"]), ["x"]),
    ],
)
def test_every_type_of_parquet_becomes_the_text_of_a_csv(tmp_path, column, cells):
    file = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"a": column}), file, version="2.6")
    assert read(file) == [(f"row {at}", [cell]) for at, cell in enumerate(cells, start=1)]


@pytest.mark.parametrize("column", [pa.array([{"b": 1}]), pa.array([[[1]]]), pa.array([b"\xff"])])
def test_a_type_that_is_no_text_is_refused_with_its_column(tmp_path, column):
    parquet.write_table(pa.table({"a": column}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet, column 'a': got .*, expected a value per row"):
        read(tmp_path / "rows.parquet")
