"""The columns of a file that are copied beside its predictions."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benison.serving.errors import DataError
from benison.serving.rows import write
from benison.serving.rows.read import read_columns, read_rows


def columns(file: Path, *names: str) -> dict[str, pa.Array]:
    return read_columns(file, read_rows(file), names)


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
@pytest.mark.parametrize(
    ("cells", "expected", "type_"),
    [
        ([1, 2**53 + 1, None], [1, 2**53 + 1, None], pa.int64()),
        ([1, 2.5], [1.0, 2.5], pa.float64()),
        ([0.5, 1.0], [0.5, 1.0], pa.float64()),
        ([2**63, 1], [str(2**63), "1"], pa.string()),
        ([True, False], ["true", "false"], pa.string()),
        (["01", None], ["01", None], pa.string()),
        (["a", 1], ["a", "1"], pa.string()),
        ([["a"], {"b": 1}], ['["a"]', '{"b": 1}'], pa.string()),
    ],
)
def test_json_keeps_numbers(tmp_path: Path, ending: str, cells: list[Any], expected: list[Any], type_: Any) -> None:
    objects = [json.dumps({"key": cell}) for cell in cells]
    file = tmp_path / f"rows{ending}"
    file.write_text("\n".join(objects) if ending == ".jsonl" else f"[{', '.join(objects)}]")
    (column,) = columns(file, "key").values()
    assert column.to_pylist() == expected
    assert column.type == type_


def test_the_cells_of_a_csv_are_text(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("key,x\n01,2\n,3\n")
    assert columns(tmp_path / "rows.csv", "key")["key"].to_pylist() == ["01", ""]


def test_parquet_keeps_types_and_missing_cells_in_each_output(tmp_path: Path) -> None:
    cells = {
        "whole": [2**53 + 1, None],
        "real": [0.5, None],
        "day": [date(1960, 2, 29), None],
        "time": [datetime(2024, 1, 2, 3, 4, 5), None],
        "flag": [True, None],
        "amount": [Decimal("1.50"), None],
        "text": ["a,b", None],
        "list": [["a", "b"], None],
    }
    table = pa.table(cells)
    pq.write_table(table, tmp_path / "rows.parquet")
    found = pa.table(columns(tmp_path / "rows.parquet", *cells))
    assert found.equals(table)
    for name in ("out.parquet", "out.csv", "out.jsonl"):
        with write.writing(tmp_path / name, found.schema) as write_batch:
            for batch in found.to_batches():
                write_batch(batch)
    assert pq.read_table(tmp_path / "out.parquet").equals(table)
    line = '9007199254740993,0.5,"1960-02-29","2024-01-02 03:04:05.000000",true,"1.50","a,b","[""a"", ""b""]"'
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == line
    assert (tmp_path / "out.csv").read_text().splitlines()[2] == ",,,,,,,"
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[1]) == dict.fromkeys(cells)


def test_a_column_that_no_row_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,x\n1,2\n")
    with pytest.raises(DataError, match=r"rows\.csv: the rows have no column 'idd'; did you mean 'id'"):
        columns(tmp_path / "rows.csv", "idd")
