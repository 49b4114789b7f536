"""With `splits.by`, rows of one customer are never in two splits: by hash, by time, and over spans."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components import groups
from benison.components.ingest.times import TimeColumn
from benison.serving.errors import DataError

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

SPLITS = {"train": 6, "valid": 1, "blend": 1, "test": 2}
Row = tuple[str, str, int]  # customer, day, number


def written(file: Path, rows: Sequence[Row]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("customer", "day", "row"), *rows])
    return str(file)


def as_records(file: Path, rows: Sequence[Row]) -> str:
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as out:
        for customer, day, number in rows:
            example = tf.train.Example()
            example.features.feature["row"].int64_list.value.append(number)
            example.features.feature["day"].bytes_list.value.append(day.encode())
            if customer:
                example.features.feature["customer"].int64_list.value.append(int(customer))
            out.write(example.SerializeToString())
    return str(file)


def ingested(node: Any, folder: Path, span: int = 0) -> Any:
    """Run an ExampleGen; return its artifact."""
    from tfx.types import standard_artifacts

    properties = {name: value for name, value in node.exec_properties.items() if value is not None}
    properties = node.driver_class(None).resolve_exec_properties(properties, None, None)
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / f"examples{span}")
    node.executor_spec.executor_class().Do({}, {"examples": [examples]}, properties)
    examples.set_int_custom_property("span", span)
    return examples


def rows_of(examples: Any) -> dict[str, dict[int, Any]]:
    """Return the customer of each row, by its number and split."""
    import tensorflow as tf

    splits: dict[str, dict[int, Any]] = {}
    for folder in Path(examples.uri).iterdir():
        rows = splits[folder.name.removeprefix("Split-")] = {}
        for file in folder.iterdir():
            for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                values = features["customer"].int64_list.value or features["customer"].bytes_list.value
                rows[features["row"].int64_list.value[0]] = values[0] if values else None
    return splits


def window_of(by_span: dict[int, Any], folder: Path) -> Any:
    from tfx.types import standard_artifacts

    from benison.components.ingest.span_window import Executor

    window = standard_artifacts.Examples()
    window.uri = str(folder / "window")
    properties = {"spans": json.dumps(sorted(by_span)), "by": "customer"}
    Executor().Do({"examples": list(by_span.values())}, {"window": [window]}, properties)
    return window


def assert_apart(splits: dict[str, dict[int, Any]]) -> None:
    for first, second in itertools.combinations(splits.values(), 2):
        assert not {c for c in first.values() if c is not None} & {c for c in second.values() if c is not None}


def visits(customers: int, rows: int, missing: int = 0, days: int = 28) -> list[Row]:
    rng = np.random.default_rng(0)
    ids = [str(i) for i in rng.integers(0, customers, rows)] + [""] * missing
    return [(customer, f"2024-01-{1 + i * days // len(ids):02d}", i) for i, customer in enumerate(ids)]


@pytest.mark.parametrize("kind", ["csv", "tfrecord"])
def test_all_rows_of_a_customer_are_in_one_split_and_rows_without_one_are_in_all(tmp_path: Path, kind: str) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen
    from benison.components.ingest.import_example_gen import ImportExampleGen

    rows = visits(60, 400, missing=100)
    if kind == "csv":
        rows = [(c.zfill(3) if i % 2 and c else c, day, i) for c, day, i in rows]  # 7 and 007 are one customer
        (tmp_path / "schema.pbtxt").write_text('feature { name: "customer" type: INT }')
        schema = str(tmp_path / "schema.pbtxt")
        node: Any = CsvExampleGen(written(tmp_path / "v.csv", rows), SPLITS, schema=schema, by="customer")
    else:
        node = ImportExampleGen(as_records(tmp_path / "v.tfrecord", rows), SPLITS, by="customer")
    splits = rows_of(ingested(node, tmp_path))
    assert_apart(splits)
    assert sum(map(len, splits.values())) == 500
    assert all(None in rows.values() for rows in splits.values())
    assert 0.4 < len(splits["train"]) / 500 < 0.8


def test_without_the_key_the_cache_keys_are_as_before(tmp_path: Path) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen

    file = written(tmp_path / "v.csv", visits(5, 9))
    before, now = CsvExampleGen(file, SPLITS).exec_properties, CsvExampleGen(file, SPLITS, by=None).exec_properties
    assert before == now
    assert "by" not in str(before["custom_config"])


def test_in_one_table_with_times_customers_of_the_latest_rows_are_left_out_before_them(tmp_path: Path) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen

    rows = visits(600, 1000, missing=50)
    file = written(tmp_path / "v.csv", [*rows, ("7", "", 2000), ("8", "", 2001), ("", "", 2002)])
    node = CsvExampleGen(file, SPLITS, time=TimeColumn("day"), by="customer")
    window = window_of({0: ingested(node, tmp_path)}, tmp_path)
    splits = rows_of(window)
    assert_apart(splits)
    days = {number: day for _, day, number in rows}
    latest = min(days[number] for number in splits["test"])
    assert {number for number, day in days.items() if day >= latest} == set(splits["test"])  # as without the key
    in_test = set(splits["test"].values()) - {None}
    expected = {n for c, day, n in rows if day < latest and (not c or int(c) not in in_test)}
    trained = {n for split in ("train", "valid", "blend") for n in splits[split]}
    assert trained - {2000, 2001, 2002} == expected
    left_out = 1050 - len(splits["test"]) - len(expected) + len({2000, 2001, 2002} - trained)
    *_, warning = json.loads(window.get_string_custom_property("warnings"))  # after those of the CSV
    assert f"{left_out} of {1053 - len(splits['test'])} rows before `test`" in warning
    assert "have a customer that is also in `test`, and are left out of train, valid, blend (splits.by)" in warning


def test_a_customer_of_the_newest_span_is_in_no_other_split_and_others_keep_their_split(tmp_path: Path) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen

    def span(number: int, rows: Sequence[Row]) -> Any:
        file = written(tmp_path / str(number) / "v.csv", rows)
        return ingested(CsvExampleGen(file, SPLITS, time=TimeColumn("day"), by="customer"), tmp_path, number)

    first, second = visits(200, 400), [(c, day, 1000 + i) for c, day, i in visits(200, 400)]
    newest = [(str(i), "2024-03-01", 2000 + i) for i in range(50)]
    spans = {1: span(1, first), 2: span(2, second), 3: span(3, newest)}
    splits = rows_of(window_of(spans, tmp_path))
    assert_apart(splits)
    assert set(splits["test"]) == {number for *_, number in newest}
    assert not {n for split in ("train", "valid", "blend") for n in splits[split]} & {
        n for c, _, n in [*first, *second] if int(c) < 50
    }


def test_if_every_customer_is_in_test_the_message_says_so(tmp_path: Path) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen

    file = written(tmp_path / "v.csv", visits(10, 1000))
    node = CsvExampleGen(file, SPLITS, time=TimeColumn("day"), by="customer")
    with pytest.raises(DataError, match=r"100\.0%\) have a customer that is also in `test`.*no row is left in train, "):
        window_of({0: ingested(node, tmp_path)}, tmp_path)


def test_folds_keep_customers_together_and_are_about_equally_large() -> None:
    rng = np.random.default_rng(0)
    of_rows = np.where(rng.random(5000) < 0.1, groups.NO_GROUP, rng.integers(0, 300, 5000))
    folds = groups.folds(of_rows, 5, seed=1)
    for customer in range(300):
        assert len(np.unique(folds[of_rows == customer])) == 1
    assert len(np.unique(folds[of_rows == groups.NO_GROUP])) == 5
    assert np.bincount(folds).tolist() == [1000] * 5
    assert np.array_equal(folds, groups.folds(of_rows, 5, seed=1))
    assert not np.array_equal(folds, groups.folds(of_rows, 5, seed=2))


def test_a_customer_in_two_splits_stops_the_run(tmp_path: Path) -> None:
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    from benison.components.validate.overlap_check import check_groups

    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path), artifact_utils.encode_split_names(list(SPLITS))
    for split, customers in {"train": [1, 2], "valid": [3], "blend": [2], "test": [4]}.items():
        (tmp_path / f"Split-{split}").mkdir()
        with tf.io.TFRecordWriter(str(tmp_path / f"Split-{split}/rows.gz"), "GZIP") as out:
            for customer in customers:
                example = tf.train.Example()
                example.features.feature["customer"].int64_list.value.append(customer)
                out.write(example.SerializeToString())
    with pytest.raises(DataError, match="1 values of 'customer' are in both train and blend"):
        check_groups([examples], "customer", ["customer"])
    with pytest.raises(DataError, match=r"splits\.by: no column 'custmer'; did you mean 'customer'"):
        check_groups([examples], "custmer", ["customer", "row"])
