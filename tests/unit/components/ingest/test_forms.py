"""One table as CSV, JSON lines and Parquet: the same guesses of `init`, and the same examples in the same splits."""

from __future__ import annotations

import datetime
import gzip
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from benison.components.ingest.csv_table import CsvTable
from benison.pipelines.starting.guess import look
from benison.pipelines.starting.init import schema_text
from benison.serving.errors import DataError, UsageError

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = 400
SPLITS = {"train": 6, "valid": 1, "blend": 1, "test": 2}
FORMS = ("csv", "jsonl", "jsonl.gz", "parquet")


def table() -> pd.DataFrame:
    """Return rows of every type that the three forms have in common."""
    rng = random.Random(1)
    return pd.DataFrame(
        {
            "age": pd.array([rng.choice([None, rng.randrange(90)]) for _ in range(ROWS)], "Int64"),
            "size": [rng.choice([None, 5.0, 1e-7, rng.random()]) for _ in range(ROWS)],
            "kind": [rng.choice([None, "cat", 'a "dog"', "NA", "ü, x"]) for _ in range(ROWS)],
            "zip": [f"{rng.randrange(30):05}" for _ in range(ROWS)],
            "price": [f"${rng.randrange(1000, 9999):,}.50" for _ in range(ROWS)],
            "born": [f"{datetime.date(2020, 1, 1) + datetime.timedelta(rng.randrange(900))}" for _ in range(ROWS)],
            "adopted": [rng.choice(["yes", "no"]) for _ in range(ROWS)],
        }
    )


def written(folder: Path, form: str) -> Path:
    """Write the rows in a form."""
    rows, file = table(), folder / f"rows.{form}"
    if form == "csv":
        rows.to_csv(file, index=False)
    elif form == "parquet":
        rows.astype({"kind": "category"}).to_parquet(file)
    else:
        records = rows.astype(object).where(rows.notna(), None).to_dict("records")
        text = "".join(f"{json.dumps(record)}\n" for record in records)  # pandas' own JSON rounds to 15 digits
        file.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    return file


def records(folder: Path, file: Path) -> dict[str, list[bytes]]:
    """Return the examples of each split, by the schema that `init` writes."""
    import tensorflow as tf
    from tfx.types import standard_artifacts

    from benison.components.ingest.example_gen import CsvExampleGen

    guess = look(file, "adopted")
    schema = folder / "schema.pbtxt"
    schema.write_text(schema_text(guess))
    node: Any = CsvExampleGen(str(file), SPLITS, guess.missing, str(schema), amounts=guess.amounts)
    properties = {name: value for name, value in node.exec_properties.items() if value is not None}
    properties = node.driver_class(None).resolve_exec_properties(properties, None, None)
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / f"examples-{file.name}")
    node.executor_spec.executor_class().Do({}, {"examples": [examples]}, properties)
    return {
        split: [
            bytes(record)
            for part in sorted(Path(examples.uri, f"Split-{split}").iterdir())
            for record in tf.data.TFRecordDataset(str(part), compression_type="GZIP").as_numpy_iterator()
        ]
        for split in SPLITS
    }


def test_every_form_gives_the_same_guesses_and_examples(tmp_path: Path) -> None:
    guesses = {form: look(written(tmp_path, form), "adopted") for form in FORMS}
    csv = guesses["csv"]
    assert [guess.form for guess in guesses.values()] == ["CSV", "JSON lines", "JSON lines", "Parquet"]
    assert [column.kind for column in csv.columns] == ["number", "number", "category", "category", "number", "date"]
    assert all(replace(guess, csv=csv.csv, form=csv.form) == csv for guess in guesses.values())
    expected = records(tmp_path, tmp_path / "rows.csv")
    assert sum(map(len, expected.values())) == ROWS
    for form in FORMS[1:]:
        assert records(tmp_path, tmp_path / f"rows.{form}") == expected, form


def test_without_a_schema_the_types_are_those_of_the_parquet_file(tmp_path: Path) -> None:
    columns = {
        "code": pa.array(["1", "2"]),
        "lost": pa.array([None, None], pa.float64()),
        "count": pa.array([1, 2]),
        "day": pa.array([datetime.date(2024, 1, 1)] * 2),
        "sizes": pa.array([[1.5, 2.5], None]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    table = CsvTable((str(tmp_path / "a.parquet"),))
    kinds, warnings = table.infer_kinds(table.header)
    assert (kinds, warnings) == (
        {"code": "bytes", "lost": "float", "count": "int", "day": "bytes", "sizes": "float"},
        [],
    )
    ((_, batch),) = table.batches(kinds)
    assert batch.to_pydict() == {
        "code": [[b"1"], [b"2"]],
        "lost": [None, None],
        "count": [[1], [2]],
        "day": [[b"2024-01-01"], [b"2024-01-01"]],
        "sizes": [[1.5, 2.5], None],
    }


def test_numbers_with_a_type_have_no_decimal_sign_of_a_csv(tmp_path: Path) -> None:
    pd.DataFrame({"price": [1.234, 2.5], "text": ["1.234,5", "2"]}).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"price": 1.234, "text": "1.234,5"}\n{"text": "2", "price": 2.5}\n')
    files = (str(tmp_path / "a.parquet"), str(tmp_path / "b.jsonl"))
    table = CsvTable(files, decimal=",", amounts=dict.fromkeys(("price", "text"), "1.234,5"))
    for _, batch in table.batches({"price": "float", "text": "float"}):
        read = {name: [value for (value,) in cells] for name, cells in batch.to_pydict().items()}
        assert read == {"price": pytest.approx([1.234, 2.5]), "text": [1234.5, 2.0]}


def test_a_cell_of_the_wrong_type_is_named_by_its_row(tmp_path: Path) -> None:
    pd.DataFrame({"a": ["1", "x"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, row 2, column 'a': got 'x', expected a whole number"):
        list(CsvTable((str(tmp_path / "a.parquet"),)).batches({"a": "int"}))


def test_init_leaves_out_columns_of_lists_and_refuses_them_as_label(tmp_path: Path) -> None:
    rows = [f'{{"tags": {["[]", "[1, 2]"][i % 2]}, "x": {i * 7 % 31}.5, "y": {i // 5 % 2}}}\n' for i in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    guess = look(tmp_path / "a.jsonl", "y")
    assert [(c.name, c.kind, c.missing) for c in guess.columns] == [("tags", "ignore", 0.5), ("x", "number", 0.0)]
    assert 'name: "tags"\n  type: BYTES\n  value_count { min: 1 }\n  lifecycle_stage: DEPRECATED' in schema_text(guess)
    with pytest.raises(UsageError, match="--label tags: the column has lists of values"):
        look(tmp_path / "a.jsonl", "tags")
