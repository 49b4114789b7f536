"""A missing cell is the same on every path, because Transform's graph leaves out the values that stand for one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from benison.components.raw_columns import dense, dense_columns, filled_columns, of_one_value, without_markers
from benison.components.transform import user_features, without_missing
from benison.serving.errors import DataError, UsageError
from benison.serving.missing_values import MISSING_INTEGER, Marks


def sparse(cells: list[Any], dtype: Any) -> tf.SparseTensor:
    """Return a column in which None is an empty cell."""
    rows = [row for row, cell in enumerate(cells) if cell is not None]
    return tf.SparseTensor(
        np.array([[row, 0] for row in rows], np.int64).reshape(-1, 2),
        tf.constant([cells[row] for row in rows], dtype),
        [len(cells), 1],
    )


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        ([None, MISSING_INTEGER, -1, 0], tf.int64, [77, 77, -1, 0]),
        ([None, math.nan, -1.0, 0.0], tf.float32, [77.0, 77.0, -1.0, 0.0]),
        ([None, "", " ", "NaN"], tf.string, [b"none", b"none", b" ", b"NaN"]),
    ],
)
def test_a_value_that_stands_for_a_missing_cell_is_an_empty_cell(cells: list[Any], dtype: Any, expected: Any) -> None:
    default = "none" if dtype == tf.string else 77
    for column in (without_markers(sparse(cells, dtype)), of_one_value({"x": sparse(cells, dtype)})["x"]):
        assert column.dense_shape.numpy().tolist() == [4, 1]
        assert dense(column, default)[:, 0].numpy().tolist() == expected
        assert tf.sparse.to_dense(column, default)[:, 0].numpy().tolist() == expected


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        ([None, -999, -9, MISSING_INTEGER], tf.int64, [77, 77, -9, 77]),
        ([None, -999.0, -0.5, math.nan], tf.float32, [77.0, 77.0, 77.0, 77.0]),
        ([None, "-999", "NA", "na"], tf.string, [b"none", b"none", b"none", b"na"]),
    ],
)
def test_what_means_no_value_in_the_csv_means_it_in_a_request_too(cells: list[Any], dtype: Any, expected: Any) -> None:
    marks = Marks(("", "NA", "-999", "-0,5"), decimal=",")
    default = "none" if dtype == tf.string else 77
    for column in (without_markers(sparse(cells, dtype), marks), of_one_value({"x": sparse(cells, dtype)}, marks)["x"]):
        assert dense(column, default)[:, 0].numpy().tolist() == expected


def test_columns_of_several_types_together_are_each_as_alone() -> None:
    inputs = {
        "i": of_one_value({"i": sparse([1, None], tf.int64)})["i"],
        "f": of_one_value({"f": sparse([math.nan, 2.5], tf.float32)})["f"],
        "j": of_one_value({"j": sparse([None, 3], tf.int64)})["j"],
        "required": tf.constant([[5], [6]], tf.int64),
        "list": without_markers(sparse([7, 8], tf.int64)),
    }
    names = ["required", "i", "f", "list", "j"]
    assert dense_columns(inputs, names, -1.0, tf.float64).numpy().tolist() == [[5, 1, -1, 7, -1], [6, -1, 2.5, 8, 3]]
    texts = dense_columns(inputs, ["i", "f", "j"], "", tf.string).numpy().tolist()
    assert texts == [[b"1", b"", b""], [b"", b"2.500000", b"3"]]


def test_a_column_is_sparse_wherever_it_is_read_first_and_costs_nothing_where_it_is_not() -> None:
    @tf.function(autograph=False)
    def total(cells: Any) -> Any:
        column = of_one_value({"x": cells})["x"]
        in_loop = tf.while_loop(
            lambda step, _: step < 2,
            lambda step, sum_: (step + 1, sum_ + tf.reshape(tf.sparse.reduce_sum(column), [])),
            (0, 0.0),
        )[1]
        return in_loop + tf.sparse.reduce_sum(column), column

    @tf.function(autograph=False)
    def filled(cells: Any) -> Any:
        column = of_one_value({"x": cells})["x"]
        assert isinstance(column, tf.SparseTensor)
        assert (column.dtype, column.shape.as_list()) == (tf.float32, [None, 1])
        return dense(column, 0.0)

    cells = sparse([1.5, None, math.nan, 2.0], tf.float32)
    spec = tf.SparseTensorSpec([None, 1], tf.float32)
    summed, column = total.get_concrete_function(spec)(cells)
    assert (summed.numpy(), column.indices.numpy().tolist()) == (10.5, [[0, 0], [3, 0]])
    assert filled(cells).numpy().tolist() == [[1.5], [0.0], [0.0], [2.0]]
    operations = [operation.type for operation in filled.get_concrete_function(spec).graph.get_operations()]
    assert "Where" not in operations


def test_columns_become_dense_together_as_each_alone() -> None:
    columns = {
        "i": sparse([None, 3, None], tf.int64),
        "t": sparse(["", None, "a"], tf.string),
        "f": sparse([1.5, None, math.inf], tf.float32),
        "none": sparse([None, None, None], tf.int64),
        "j": sparse([1, 2, None], tf.int64),
    }
    cells = {name: values[:, 0].numpy().tolist() for name, values in filled_columns(columns).items()}
    assert math.isnan(cells["f"].pop(1))
    assert cells == {
        "i": [MISSING_INTEGER, 3, MISSING_INTEGER],
        "t": [b"", b"", b"a"],
        "f": [1.5, math.inf],
        "none": [MISSING_INTEGER] * 3,
        "j": [1, 2, MISSING_INTEGER],
    }
    assert filled_columns({"i": sparse([], tf.int64)})["i"].shape == (0, 1)


def test_a_second_value_in_a_row_is_refused_and_is_not_that_of_another_row_or_column() -> None:
    two = tf.SparseTensor([[0, 0], [0, 1]], tf.constant([1, 2], tf.int64), [2, 2])
    for columns in ({"a": two}, {"a": two, "b": sparse([None, None], tf.int64)}):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"out of bounds|not compatible"):
            filled_columns(columns)


def test_a_graph_hardly_grows_with_columns_of_one_value() -> None:
    def operations(columns: int) -> int:
        @tf.function(autograph=False)
        def joined(inputs: Any) -> Any:
            return tf.concat([*filled_columns(inputs).values()], axis=1)

        spec = {f"c{column}": tf.SparseTensorSpec([None, 1], tf.int64) for column in range(columns)}
        graph = joined.get_concrete_function(spec).graph
        return sum(operation.type != "Placeholder" for operation in graph.get_operations())

    assert operations(100) == operations(2)


def test_a_required_column_stays_as_it_is() -> None:
    column = tf.constant([[MISSING_INTEGER], [3]], tf.int64)
    assert without_markers(column) is column


def test_a_column_of_several_values_is_not_reshaped_into_other_rows() -> None:
    with pytest.raises(UsageError, match="dense takes one value per row, got 3; use this column as it is"):
        dense(tf.zeros([2, 3]), default=0.0)
    assert dense(tf.zeros([2, 1]), default=0.0).shape == (2, 1)


def test_dense_refuses_a_list_before_any_row_is_read(tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text(
        "from benison import dense\ndef preprocessing_fn(inputs):\n    return {'tags': dense(inputs['tags'], '')}\n"
    )
    reference, raw = f"{tmp_path}/features.py:preprocessing_fn", {"tags": sparse(["a", None], tf.string)}
    assert user_features(reference, raw, {})["tags"].numpy().tolist() == [[b"a"], [b""]]
    with pytest.raises(UsageError, match="dense takes one value per row, and rows of 'tags' have any number; use tf"):
        user_features(reference, without_missing(raw, lists=["tags"]), {})


def test_columns_with_several_values_have_no_kind() -> None:
    from benison.components.transform_node import refuse_lists

    schema = text_format.Parse(
        'feature { name: "one" type: INT value_count { min: 1 max: 1 } }'
        'feature { name: "any" type: INT value_count { min: 1 } }'
        'feature { name: "two" type: INT shape { dim { size: 2 } } }',
        schema_pb2.Schema(),
    )
    refuse_lists({"one": {"kind": "number"}, "any": {"kind": "ignore"}}, schema)
    for name in ("any", "two"):
        with pytest.raises(DataError, match=f"column '{name}': rows have several values, and the kinds of `columns`"):
            refuse_lists({name: {"kind": "category"}}, schema)
