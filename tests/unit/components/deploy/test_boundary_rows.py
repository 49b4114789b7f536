"""Tests of the boundary rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from benison.components import raw_examples
from benison.components.deploy import trial_rows
from benison.components.deploy.boundary_rows import RawColumn, boundary_rows
from benison.components.evaluate import raw_rows
from benison.serving.missing_values import MISSING_INTEGER
from benison.serving.signature_names import argument_names


def test_every_column_has_every_boundary_value_alone_and_with_all_others():
    columns = {
        "s": RawColumn(np.dtype(object), b"Adelie", missing=""),
        "f": RawColumn(np.dtype(np.float32), 2.5, missing=math.nan, seen=(-3.5, 9.25)),
        "i": RawColumn(np.dtype(np.int64), 7, missing=MISSING_INTEGER, seen=(-12, 345)),
        "required": RawColumn(np.dtype(np.int64), 7, seen=(-12, 345)),
    }
    rows = boundary_rows(columns)
    assert len({len(values) for values in rows.values()}) == 1
    usual = {name: values == columns[name].usual for name, values in rows.items()}
    boundaries: dict[str, list[Any]] = {
        "s": [b"", "\N{SNOWMAN} never seen in training".encode()],
        "f": [-3.5, 9.25, -1.0, 0.0],
        "i": [MISSING_INTEGER, -12, 345, -1, 0],
        "required": [-12, 345, -1, 0],
    }
    for name, expected in boundaries.items():
        others_usual = np.all([usual[other] for other in columns if other != name], axis=0)
        for rows_of_column in (rows[name][others_usual], rows[name][~others_usual]):
            assert set(expected) <= set(rows_of_column.tolist())
    assert np.isnan(rows["f"]).sum() >= 4
    assert MISSING_INTEGER not in rows["required"]
    assert rows["f"].dtype == np.float32


def test_the_rows_of_very_many_columns_are_bounded_and_still_have_every_boundary_value_beside_usual_ones():
    columns = {f"c{number}": RawColumn(np.dtype(np.int64), 7, seen=(-12, number)) for number in range(100)}
    rows = boundary_rows(columns, most=100)
    usual = np.array([rows[name] == 7 for name in columns])
    assert usual.shape[1] < 130
    with_usual = usual.sum(axis=0) > 80
    for number, values in enumerate(rows.values()):
        assert {-12, number, -1, 0} <= set(values[with_usual].tolist())


def test_rows_have_the_same_cells_in_every_form():
    spec = {
        "i x": tf.io.VarLenFeature(tf.int64),
        "f": tf.io.VarLenFeature(tf.float32),
        "s": tf.io.FixedLenFeature([1], tf.string),
        "y": tf.io.FixedLenFeature([1], tf.float32),
    }
    example = tf.train.Example()
    example.features.feature["s"].bytes_list.value.append(b"a")
    example.features.feature["y"].float_list.value.append(1.0)
    records = np.array([example.SerializeToString()], object)
    arguments = argument_names(["i x", "f", "s"])
    rows, incomplete = trial_rows.build(records, spec, arguments, {"i x": (-5, 9)})
    assert rows.missing["i_x"] == MISSING_INTEGER
    assert {MISSING_INTEGER, -5, 9} <= set(rows.inputs["i_x"].tolist())
    again = raw_rows.raw_rows(rows.examples, spec, arguments)
    for name, values in rows.inputs.items():
        np.testing.assert_array_equal(again[name], values)
    first, second = rows.json_rows()[:2]
    assert first == {"i_x": None, "f": None, "s": "a"}
    assert second == {"s": "a"}, "in every other row a missing cell has no key"
    assert [(row.column, row.json["s"]) for row in incomplete] == [("s", None)]
    assert "s" not in tf.train.Example.FromString(incomplete[0].example).features.feature


def test_rows_with_several_values_have_the_same_ones_in_every_form():
    spec = {
        "tags": raw_examples.list_feature()(tf.string),
        "counts": raw_examples.list_feature()(tf.int64),
        "point": tf.io.FixedLenFeature([2], tf.float32),
    }
    records = []
    for tags, counts in (([b"red", b"blue"], [3]), ([], [])):
        features = tf.train.Example().features
        features.feature["tags"].bytes_list.value.extend(tags)
        features.feature["counts"].int64_list.value.extend(counts)
        features.feature["point"].float_list.value.extend([1.5, -2.0])
        records.append(tf.train.Example(features=features).SerializeToString())
    arguments = {name: name for name in spec}
    rows, incomplete = trial_rows.build(np.array(records, object), spec, arguments, {"counts": (3, 3)})
    assert rows.inputs["tags"][:2].tolist() == [[b"red", b"blue"], [b"", b""]]
    assert rows.inputs["counts"][:2].tolist() == [[3], [MISSING_INTEGER]]
    again = raw_rows.raw_rows(rows.examples, spec, arguments)
    for name, values in rows.inputs.items():
        np.testing.assert_array_equal(again[name], values)
    assert rows.json_rows()[0] == {"tags": ["red", "blue"], "counts": [3], "point": [1.5, -2.0]}
    assert [row.column for row in incomplete] == ["point"], "an empty list is a value"


def test_a_row_without_its_only_column_is_an_empty_example():
    spec = {"image": tf.io.FixedLenFeature([1], tf.string), "y": tf.io.FixedLenFeature([1], tf.float32)}
    example = tf.train.Example()
    example.features.feature["image"].bytes_list.value.append(b"\xff")
    records = np.array([example.SerializeToString()], object)
    _, incomplete = trial_rows.build(records, spec, {"image": "image"}, {})
    assert [(row.column, row.json) for row in incomplete] == [("image", {"image": None})]
    assert not tf.train.Example.FromString(incomplete[0].example).features.feature


def test_the_seen_range_is_that_of_all_records(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "data.gz"), "GZIP") as writer:
        for number in (5, -3, 8):
            example = tf.train.Example()
            example.features.feature["i"].int64_list.value.append(number)
            example.features.feature["f"].float_list.value.append(math.nan if number == 8 else number / 2)
            writer.write(example.SerializeToString())
    spec = {name: tf.io.VarLenFeature(dtype) for name, dtype in (("i", tf.int64), ("f", tf.float32), ("s", tf.string))}
    assert raw_rows.seen_ranges([str(tmp_path / "data.gz")], spec) == {"i": (-3, 8), "f": (-1.5, 2.5)}
