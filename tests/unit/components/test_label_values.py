"""The label in the rows: its classes and the rows without one, counted in every split before any training."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components.label_classes import LabelSchema
from benison.components.label_values import (
    check_missing,
    class_warnings,
    classes_of,
    missing_warnings,
    read,
    rows_without_label,
)
from benison.serving.errors import DataError

NO_SCHEMA = LabelSchema()


def written(folder: Path, kind: str, splits: dict[str, list[Any]]) -> Any:
    """Write the cells of the label `grade` of each split as Examples."""
    import tensorflow as tf
    from tfx.types import artifact_utils, standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), artifact_utils.encode_split_names(list(splits))
    for split, cells in splits.items():
        file = folder / f"Split-{split}" / "rows.gz"
        file.parent.mkdir()
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for cell in cells:
                example = tf.train.Example()
                feature = example.features.feature["grade"]
                lists = {"BYTES": feature.bytes_list, "FLOAT": feature.float_list, "INT": feature.int64_list}
                lists[kind].value.extend([] if cell is None else [cell.encode() if isinstance(cell, str) else cell])
                writer.write(example.SerializeToString())
    return examples


@pytest.mark.parametrize(
    ("kind", "cells"),
    [("BYTES", ["a", "", None, "b"]), ("FLOAT", [1.0, float("nan"), None, 0.0]), ("INT", [1, None, None, 0])],
)
def test_rows_without_a_label_are_counted_in_each_split(tmp_path: Path, kind: str, cells: list[Any]) -> None:
    examples = written(tmp_path, kind, {"train": cells, "test": cells[2:]})
    schema = text_format.Parse(f'feature {{ name: "grade" type: {kind} }}', schema_pb2.Schema())
    assert rows_without_label([examples], schema, "grade") == {"train": (2, 4), "test": (1, 2)}


def test_a_class_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    examples = written(tmp_path, "BYTES", {"train": ["a", b"caf\xe9"]})
    schema = text_format.Parse('feature { name: "grade" type: BYTES }', schema_pb2.Schema())
    with pytest.raises(DataError, match=r"^label 'grade': train has the class b'caf\\xe9', which is not UTF-8; write"):
        read([examples], schema, "grade")


def test_rows_without_a_label_are_a_warning() -> None:
    counts = {"train": (5, 200), "valid": (0, 30), "test": (54, 60)}
    assert missing_warnings("late", counts) == [
        "label 'late' is missing in 5 of 200 rows of train (2.5%), 54 of 60 rows of test (90.0%); these rows are skipped"
    ]
    assert missing_warnings("late", {"train": (0, 200)}) == []


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": (200, 200), "test": (0, 60)}, "no row of train has a label; fix"),
        (
            {"train": (60, 200), "test": (0, 50)},
            r"60 of 250 rows \(24.0%\) have no label, more than .*max_missing_labels",
        ),
        (
            {"train": (0, 2000), "test": (54, 60)},
            r"54 of 60 rows of test \(90.0%\) have no label, more than .* \(20%\)",
        ),
    ],
)
def test_too_many_rows_without_a_label_are_refused(counts: dict[str, tuple[int, int]], message: str) -> None:
    with pytest.raises(DataError, match=f"^label 'late': {message}"):
        check_missing("late", counts, 0.2)


def test_a_small_split_may_have_some_more_rows_without_a_label_by_chance() -> None:
    check_missing("late", {"train": (0, 200), "blend": (5, 20)}, 0.2)
    check_missing("late", {"train": (199, 200), "test": (9, 10)}, 1.0)


def splits(train: str, test: str) -> dict[str, Counter[str]]:
    return {"train": Counter(train), "valid": Counter(), "test": Counter(test)}


def test_the_classes_are_those_of_the_schema_or_else_of_all_splits() -> None:
    assert classes_of("grade", "multiclass", splits("cba", "abx"), NO_SCHEMA, None).names == ("a", "b", "c", "x")
    assert classes_of("grade", "multiclass", splits("ab", "abx"), LabelSchema(tuple("xba")), None).names == tuple("xba")


def test_classes_that_train_or_test_does_not_have_are_warnings() -> None:
    assert class_warnings("grade", "abx", splits("aab", "abxx")) == [
        "label 'grade': train has no row of the class 'x' (2 rows of test): no member can learn it, and its rows in other "
        "splits count as wrong answers"
    ]
    assert class_warnings("grade", "abx", {**splits("aab", "abx"), "blend": Counter("x")}) == [
        "label 'grade': train has no row of the class 'x' (1 row of test, 1 row of blend): a member can learn it only "
        "where it learns from these splits too, as from fewer than 50,000 rows"
    ]
    assert class_warnings("grade", "abz", splits("aabz", "ab")) == [
        "label 'grade': test has no row of the class 'z' (1 row of train): no metric measures how well it is recognised"
    ]
    assert class_warnings("grade", "abcdefgh", splits("ab", "ab")) == [
        "label 'grade': train has no row of the class 'c' (no row), 'd' (no row), 'e' (no row), 'f' (no row), 'g' (no "
        "row) and 1 others: no member can learn it, and its rows in other splits count as wrong answers"
    ]
    assert class_warnings("grade", "ab", splits("ab", "ab")) == []


def test_a_binary_label_with_more_classes_is_refused() -> None:
    for rows in (splits("abcd", "ab"), splits("ab", "abcd")):
        with pytest.raises(DataError, match=r"problem is binary, but the rows have 4 classes: 'a', 'b', 'c', 'd'"):
            classes_of("grade", "binary", rows, NO_SCHEMA, None)
