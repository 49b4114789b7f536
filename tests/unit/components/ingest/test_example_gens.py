"""Tests of the two ExampleGens with a time column: both divide the rows in the same way, by time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benison.components.ingest.times import TimeColumn
from benison.serving.errors import DataError
from benison.serving.missing_values import MISSING_INTEGER

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

SPLITS = {"train": 6, "valid": 1, "blend": 1, "test": 2}
DAYS = [f"{9 + day // 30}/{1 + day % 30}/2013" for day in range(60)]
TIME = TimeColumn("day", missing=frozenset({"", "NA"}))


def test_a_record_has_its_features_in_the_order_of_their_names() -> None:
    from tensorflow.core.example import example_pb2

    from benison.components.ingest.example_writer import in_order

    one = example_pb2.Example()
    for name in "bca":
        one.features.feature[name].int64_list.value.append(ord(name))
    parts = [example_pb2.Example() for _ in "bca"]
    for part, name in zip(parts, "bca", strict=True):
        part.features.feature[name].int64_list.value.append(ord(name))
    # Messages of the same type that follow one another are one message, with the features in this order.
    records = {b"".join(part.SerializeToString() for part in order) for order in (parts, parts[::-1])}
    assert len(records) == 2
    assert {in_order(record) for record in records} == {one.SerializeToString(deterministic=True)}


def csv_of(folder: Path, cells: Sequence[Any], first: int = 0) -> Any:
    from benison.components.ingest.example_gen import CsvExampleGen

    file = folder / "rows.csv"
    file.write_text("day,row\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells, first)))
    return CsvExampleGen(str(file), SPLITS, missing=["", "NA"], time=TIME)


def records_of(folder: Path, cells: Sequence[Any], first: int = 0) -> Any:
    import tensorflow as tf

    from benison.components.ingest.import_example_gen import ImportExampleGen

    file = str(folder / "rows.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for i, cell in enumerate(cells, first):
            example = tf.train.Example()
            example.features.feature["row"].int64_list.value.append(i)
            if isinstance(cell, str):
                example.features.feature["day"].bytes_list.value.append(cell.encode())
            elif cell is not None:
                example.features.feature["day"].int64_list.value.append(cell)
            writer.write(example.SerializeToString())
    return ImportExampleGen(file, SPLITS, TIME)


def ingested(
    node: Any, folder: Path, meanwhile: Callable[[], object] = lambda: None
) -> tuple[dict[str, list[int]], list[str]]:
    """Run the node; return the numbers of the rows in head and tail, and the warnings.

    Args:
        node: an ExampleGen.
        folder: for the artifact.
        meanwhile: is called after the driver and before the executor.
    """
    import tensorflow as tf
    from tfx.types import standard_artifacts

    properties = {name: value for name, value in node.exec_properties.items() if value is not None}
    properties = node.driver_class(None).resolve_exec_properties(properties, None, None)
    examples = standard_artifacts.Examples()
    examples.uri = str(folder / "examples")
    meanwhile()
    node.executor_spec.executor_class().Do({}, {"examples": [examples]}, properties)
    sides: dict[str, list[int]] = {"head": [], "tail": []}
    for file in (folder / "examples/Split-rows").iterdir():
        for record in tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator():
            row = tf.train.Example.FromString(record).features.feature["row"].int64_list.value[0]
            sides[file.name.partition("-")[0]].append(row)
    return {side: sorted(rows) for side, rows in sides.items()}, json.loads(
        examples.get_string_custom_property("warnings")
    )


@pytest.mark.parametrize("node", [csv_of, records_of])
def test_files_that_change_while_they_are_read_are_refused(tmp_path: Path, node: Any) -> None:
    with pytest.raises(DataError, match=r"/rows\.(csv|tfrecord): changed while it was read; run again when it is"):
        ingested(node(tmp_path, DAYS), tmp_path, meanwhile=lambda: node(tmp_path, [*DAYS, *DAYS]))


@pytest.mark.parametrize("node", [csv_of, records_of])
def test_the_latest_rows_are_the_tail_and_rows_without_a_time_are_not(tmp_path: Path, node: Any) -> None:
    cells = [*DAYS[30:], "NA", "", *DAYS[:30]]  # as text, October is before September
    sides, (warning,) = ingested(node(tmp_path, cells), tmp_path)
    assert sides["tail"] == list(range(19, 30))
    assert len(sides["head"]) + len(sides["tail"]) == 62
    assert "2 of 62 rows (3.23%) have no time" in warning


@pytest.mark.parametrize("node", [csv_of, records_of])
def test_numbers_are_times_too(tmp_path: Path, node: Any) -> None:
    sides, warnings = ingested(node(tmp_path, [2013 - i for i in range(60)]), tmp_path)
    assert (sides["tail"], warnings) == (list(range(11)), [])


@pytest.mark.parametrize(
    ("node", "place"), [(csv_of, r"rows\.csv, line 4, column 'row'"), (records_of, r"record 3, column 'row'")]
)
def test_the_integer_that_stands_for_a_missing_one_is_refused(tmp_path: Path, node: Any, place: str) -> None:
    rows = node(tmp_path, range(2010, 2014), first=MISSING_INTEGER - 2)
    with pytest.raises(DataError, match=rf"{place}: got '?-9007199254740991"):
        ingested(rows, tmp_path)


def test_a_record_without_the_feature_has_no_time(tmp_path: Path) -> None:
    sides, (warning,) = ingested(records_of(tmp_path, [None, *range(1950, 2009)]), tmp_path)
    assert 0 in sides["head"]
    assert "rows.tfrecord, record 1, column 'day': 1 of 60 rows (1.67%) have no time" in warning


def test_records_that_all_lack_the_feature_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no time column 'day': no record has this feature"):
        ingested(records_of(tmp_path, [None, None]), tmp_path)


@pytest.mark.parametrize("number", ["inf", "-inf"])
def test_an_infinite_number_in_a_record_is_refused_as_in_a_csv(tmp_path: Path, number: str) -> None:
    import tensorflow as tf

    from benison.components.ingest.import_example_gen import records

    file = str(tmp_path / "rows.tfrecord")
    with tf.io.TFRecordWriter(file) as writer:
        for values in ([1.0, float("nan")], [2.0, float(number)]):
            example = tf.train.Example()
            example.features.feature["mass"].float_list.value.extend(values)
            writer.write(example.SerializeToString())
    with pytest.raises(DataError, match=rf"rows.tfrecord, record 2, column 'mass': got {number}, expected a finite"):
        list(records([file]))


def written(file: Path, rows: Sequence[dict[str, list[Any]]], compression: str = "") -> str:
    """Write rows as tf.Examples; the type of the first value is that of a feature."""
    import tensorflow as tf

    lists = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type=compression)) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                getattr(example.features.feature[name], lists[type(values[0])]).value.extend(values)
            writer.write(example.SerializeToString())
    return str(file)


@pytest.mark.parametrize(("name", "compression"), [("a.gz", "GZIP"), ("a", "GZIP"), ("a.gz", ""), ("a", "")])
def test_the_content_says_whether_records_are_compressed(tmp_path: Path, name: str, compression: str) -> None:
    from benison.components.ingest.import_example_gen import records

    file = written(tmp_path / name, [{"mass": [1.0]}, {"mass": [2.0]}], compression)
    assert [record.features["mass"].float_list.value[0] for record in records([file])] == [1.0, 2.0]


def test_a_record_whose_length_looks_like_gzip_is_read(tmp_path: Path) -> None:
    from benison.components.ingest.import_example_gen import records

    empty = len(b"\x0a\x00\x12\x00")  # about what protobuf adds to the text
    for size in range(0x088B1F - 40, 0x088B1F - empty):
        file = written(tmp_path / "a", [{"text": [bytes(size)]}])
        if Path(file).read_bytes()[:3] == b"\x1f\x8b\x08":
            break
    else:
        pytest.fail("no record had this length")
    (record,) = records([file])
    assert len(record.features["text"].bytes_list.value[0]) == size


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"y": [b"a"]}, {"y": [b"caf\xe9"]}],
            r"a, record 2, column 'y': the label b'caf\\xe9' is not UTF-8; write the",
        ),
        ([{"y": [b"a"]}, {"y": [b"a", b"b"]}], "a, record 2, column 'y': got 2 values, expected one label"),
        ([{"Y": [b"a"], "x": [1]}], r"a: no record has the label 'y'; did you mean 'Y'\? \(it has Y, x\)"),
        (
            [{"x": [1]}, {"x": [1.5], "y": [1]}],
            "a, record 2, column 'x': has floats, but .*a, record 1 has whole numbers; wr",
        ),
    ],
)
def test_a_label_or_a_type_that_cannot_be_used_is_named_by_its_record(tmp_path: Path, rows: Any, message: str) -> None:
    from benison.components.ingest.import_example_gen import records

    with pytest.raises(DataError, match=message):
        list(records([written(tmp_path / "a", rows)], "y"))


def test_a_code_that_the_schema_reads_as_a_number_is_a_warning(tmp_path: Path) -> None:
    from benison.components.ingest.example_gen import CsvExampleGen

    (tmp_path / "s.pbtxt").write_text('feature { name: "zip" type: INT } feature { name: "row" type: INT }')
    (tmp_path / "rows.csv").write_text(
        "day,zip,row\n" + "".join(f"{1950 + i},{'02134' if i in (7, 9) else 90210},{i}\n" for i in range(60))
    )
    node = CsvExampleGen(str(tmp_path / "rows.csv"), SPLITS, schema=str(tmp_path / "s.pbtxt"), time=TIME)
    _, (warning,) = ingested(node, tmp_path)
    assert warning.endswith(
        "rows.csv, line 9, column 'zip': '02134' is read as the number 2134, because the schema says INT; if these are "
        "codes, such as zip codes, write type: BYTES there"
    )
