"""Rows are written in the form that the file's name asks for, whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benison.serving.errors import UsageError
from benison.serving.rows import write

TABLE = pa.table(
    {
        "name": pa.array(["a,b", 'say "x"', "two\nlines", None]),
        "number": pa.array([1, 2, None, 4], pa.int64()),
        "share": pa.array([0.5, float("nan"), 1e-9, None]),
    }
)
CSV = '"name","number","share"\n"a,b",1,0.5\n"say ""x""",2,nan\n"two\nlines",,1e-9\n,4,\n'
JSON = (
    '{"name": "a,b", "number": 1, "share": 0.5}\n{"name": "say \\"x\\"", "number": 2, "share": null}\n'
    '{"name": "two\\nlines", "number": null, "share": 1e-09}\n{"name": null, "number": 4, "share": null}\n'
)


def write_table(path: Path) -> None:
    """Write the table in two batches."""
    with write.writing(path, TABLE.schema) as write_batch:
        for batch in TABLE.to_batches(max_chunksize=3):
            write_batch(batch)


@pytest.mark.parametrize(("name", "text"), [("r.csv", CSV), ("R.CSV", CSV), ("r.jsonl", JSON), ("r.ndjson", JSON)])
def test_text_has_the_form_of_its_ending(tmp_path: Path, name: str, text: str) -> None:
    write_table(tmp_path / name)
    assert (tmp_path / name).read_text() == text
    write_table(tmp_path / f"{name}.gz")
    assert gzip.decompress((tmp_path / f"{name}.gz").read_bytes()).decode() == text


def test_parquet_keeps_types_and_missing_values(tmp_path: Path) -> None:
    write_table(tmp_path / "r.parquet")
    read = parquet.read_table(tmp_path / "r.parquet")
    assert read.schema == TABLE.schema
    assert read["number"].to_pylist() == [1, 2, None, 4]


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.parquet.gz", "no_folder/r.csv", "folder.csv"])
def test_a_name_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match=r"expected a name that ends in|the folder does not exist|expected a file"):
        write.check(tmp_path / name)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("old")
    with pytest.raises(AttributeError), write.writing(path, TABLE.schema) as write_batch:
        write_batch(None)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
