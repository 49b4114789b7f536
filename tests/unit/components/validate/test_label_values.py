"""The classes of a label in the rows: counted in every split, and checked before any training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components.label_classes import LabelSchema
from benison.components.validate.label_values import classes_of, rows_without_label
from benison.serving.errors import DataError

NO_SCHEMA = LabelSchema()


@pytest.mark.parametrize(
    ("kind", "cells"),
    [("BYTES", ["a", "", None, "b"]), ("FLOAT", [1.0, float("nan"), None, 0.0]), ("INT", [1, None, None, 0])],
)
def test_rows_without_a_label_are_counted_in_each_split(tmp_path: Path, kind: str, cells: list[Any]) -> None:
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(tmp_path), artifact_utils.encode_split_names(["train", "test"])
    for split, labels in (("train", cells), ("test", cells[2:])):
        file = tmp_path / f"Split-{split}" / "rows.gz"
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for cell in labels:
                example = tf.train.Example()
                feature = example.features.feature["grade"]
                values = {"BYTES": feature.bytes_list, "FLOAT": feature.float_list, "INT": feature.int64_list}[
                    kind
                ].value
                values.extend([] if cell is None else [cell.encode() if isinstance(cell, str) else cell])
                writer.write(example.SerializeToString())
    schema = text_format.Parse(f'feature {{ name: "grade" type: {kind} }}', schema_pb2.Schema())
    assert rows_without_label([examples], schema, "grade") == {"train": (2, 4), "test": (1, 2)}


def splits(train: str, test: str) -> dict[str, Counter[str]]:
    return {"train": Counter(train), "valid": Counter(), "test": Counter(test)}


def test_the_classes_are_those_of_the_schema_or_else_of_train() -> None:
    assert classes_of("grade", "multiclass", splits("cba", "ab"), NO_SCHEMA, None).names == ("a", "b", "c")
    assert classes_of("grade", "multiclass", splits("ab", "abx"), LabelSchema(tuple("xba")), None).names == tuple("xba")


def test_a_class_that_train_does_not_have_is_named_with_its_rows() -> None:
    with pytest.raises(DataError, match=r"label 'grade': 2 rows of test have the class 'x', and no row of train.*list"):
        classes_of("grade", "multiclass", splits("ab", "axx"), NO_SCHEMA, None)


def test_a_binary_label_with_more_classes_is_refused() -> None:
    for rows in (splits("abcd", "ab"), splits("ab", "abcd")):
        with pytest.raises(DataError, match=r"problem is binary, but the rows have 4 classes: 'a', 'b', 'c', 'd'"):
            classes_of("grade", "binary", rows, NO_SCHEMA, None)
