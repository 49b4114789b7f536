"""Raw columns in Transform's graph: what is missing, and columns as dense tensors.

A user's function gets a SparseTensor for a column whose cells may be missing. Before that, a column of one value per
row is made dense, with the value that stands for a missing cell. So `dense` and `dense_columns` need no sparse
operation, and a model's signature can begin at the dense column (`benison.components.transform_graph`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.missing_values import NO_MARKS, Marks, marker

if TYPE_CHECKING:
    import tensorflow as tf

_LIST = "benison_list"  # attribute of a column with any number of values per row: its name
_CELLS = "benison_cells"  # attribute of a column with at most one value per row


@dataclass(frozen=True)
class _Cells:
    """The cells of a column.

    Attributes:
        values: [batch, 1], with the value that stands for a missing cell, and marks.
        marks: what else stands for a missing cell.
    """

    values: tf.Tensor
    marks: Marks


def entry_name(column: str) -> str:
    """Return the name of the operation in Transform's graph whose output is the dense column."""
    return f"benison_column_{column.encode().hex()}"


def mark_list(column: Any, name: str) -> None:
    """Remember that rows of a column have any number of values, so that `dense` refuses it."""
    setattr(column, _LIST, name)


def of_one_value(columns: Mapping[str, Any], marks: Marks = NO_MARKS) -> dict[str, Any]:
    """Return raw columns with at most one value per row, without the values that stand for a missing cell.

    Args:
        columns: by name, SparseTensor [batch, 1]; a Tensor, whose cells are never missing, stays as it is.
        marks: the marks of the pipeline's CSV, such as NA, or -999 in a column of numbers.
    """
    import tensorflow as tf

    sparse = {name: values for name, values in columns.items() if isinstance(values, tf.SparseTensor)}
    entries = {name: tf.identity(cells, name=entry_name(name)) for name, cells in filled_columns(sparse).items()}
    of_entries = {name: _sparse_column()(_Cells(cells, marks)) for name, cells in entries.items()}
    return {**columns, **of_entries}


@functools.cache
def _sparse_column() -> Any:
    """Return the class of a raw column with at most one value per row, a child of TensorFlow's SparseTensor."""
    import tensorflow as tf

    class SparseColumn(tf.SparseTensor):
        """A column whose sparse operations are added to the graph when they are needed.

        Most columns are only read as dense ones. TFT traces a preprocessing_fn ten times, and most of its operations
        would be those that make columns sparse.
        """

        def __init__(self, cells: _Cells) -> None:
            setattr(self, _CELLS, cells)
            self._dense_shape_default = tf.TensorShape([cells.values.shape[0], 1])

        @functools.cached_property
        def _sparse(self) -> tf.SparseTensor:
            cells: _Cells = getattr(self, _CELLS)
            # The graph of the column, even if a function inside it, such as the body of a loop, reads the column first.
            graph = contextlib.nullcontext() if tf.executing_eagerly() else cells.values.graph.as_default()
            with graph, tf.control_dependencies(None):
                places = tf.where(_present(cells.values, cells.marks))
                rows = tf.shape(cells.values, out_type=tf.int64)[0]
                return tf.SparseTensor(places, tf.gather_nd(cells.values, places), tf.stack([rows, 1]))

        _indices = property(lambda self: self._sparse.indices)
        _values = property(lambda self: self._sparse.values)
        _dense_shape = property(lambda self: self._sparse.dense_shape)
        dtype = property(lambda self: getattr(self, _CELLS).values.dtype)

    return SparseColumn


def source(column: Any) -> Any:
    """Return the tensor of Transform's graph that a column comes from: every use of the column is computed from it."""
    cells = getattr(column, _CELLS, None)
    return column if cells is None else cells.values


def without_markers(values: Any, marks: Marks = NO_MARKS) -> Any:
    """Return a raw column without the values that stand for a missing cell: '', NaN or the missing integer, and marks.

    This is part of Transform's graph, so such a cell is the same in training and in every signature of a model.

    Args:
        values: SparseTensor; a Tensor, whose cells are never missing, stays as it is.
        marks: the marks of the pipeline's CSV, such as NA, or -999 in a column of numbers.
    """
    import tensorflow as tf

    return tf.sparse.retain(values, _present(values.values, marks)) if isinstance(values, tf.SparseTensor) else values


def dense(values: Any, default: float | str) -> Any:
    """Return a raw or computed column as a Tensor, whether or not values are missing.

    Args:
        values: Tensor or SparseTensor [batch, 1].
        default: replaces missing values.

    Returns:
        Tensor [batch, 1].

    Raises:
        UsageError: rows have several values; reshaped, they would be other rows.
    """
    import tensorflow as tf

    if column := getattr(values, _LIST, ""):
        raise UsageError(
            f"dense takes one value per row, and rows of {column!r} have any number; use tf.sparse.to_dense, and "
            "reduce the result to a fixed width"
        )
    if isinstance(values, tf.SparseTensor):
        cells = getattr(values, _CELLS, None)
        if cells is None:
            return filled(values, default)
        return tf.where(_present(cells.values, cells.marks), cells.values, tf.constant(default, values.dtype))
    if values.shape.rank == 2 and (values.shape[1] or 1) > 1:
        raise UsageError(f"dense takes one value per row, got {values.shape[1]}; use this column as it is")
    return tf.reshape(values, [-1, 1])


def dense_columns(inputs: Mapping[str, Any], names: Iterable[str], default: float | str, dtype: Any) -> Any:
    """Return raw columns together in one type; many columns need few operations.

    Args:
        inputs: the inputs of a preprocessing_fn.
        names: columns with one value per row.
        default: replaces missing values.
        dtype: TensorFlow's type of the result; numbers are written as by `tf.strings.as_string` if it is text.

    Returns:
        Tensor [batch, columns].
    """
    import tensorflow as tf

    names = list(names)
    alike: dict[tuple[Any, Any], list[int]] = {}  # columns that share operations
    for position, name in enumerate(names):
        cells = getattr(inputs[name], _CELLS, None)
        # A column without cells to share is on its own: it is required, or computed.
        key = (position, None) if cells is None else (cells.values.dtype, cells.marks)
        alike.setdefault(key, []).append(position)
    parts = []
    for (_, marks), positions in alike.items():
        group = [inputs[names[position]] for position in positions]
        if marks is None:
            parts.append(dense(_converted(group[0], dtype), default))
        else:
            cells = tf.concat([getattr(column, _CELLS).values for column in group], axis=1)
            parts.append(tf.where(_present(cells, marks), _converted(cells, dtype), tf.constant(default, dtype)))
    result = parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)
    order = [position for positions in alike.values() for position in positions]
    if order != sorted(order):
        result = tf.gather(result, [order.index(position) for position in range(len(order))], axis=1)
    return tf.ensure_shape(result, [None, len(names)])


def as_they_are(inputs: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return raw columns as Tensors [batch, n], with the value that stands for a missing cell.

    Args:
        inputs: the inputs of a preprocessing_fn.
        names: columns; those of a type with one value per row share the few operations.

    Raises:
        UsageError: there is no such column, or its rows have any number of values.
    """
    import tensorflow as tf

    result: dict[str, Any] = {}
    alike: dict[Any, list[str]] = {}
    for name in names:
        if name not in inputs:
            raise UsageError(f"ensemble.members: no column {name!r} for a foreign member{did_you_mean(name, inputs)}")
        if getattr(inputs[name], _LIST, ""):
            raise UsageError(
                f"ensemble.members: rows of {name!r} have any number of values; a foreign member takes columns with a "
                "fixed number"
            )
        if not isinstance(inputs[name], tf.SparseTensor) and inputs[name].shape[1:].num_elements() != 1:
            result[name] = inputs[name]
        else:
            alike.setdefault(inputs[name].dtype, []).append(name)
    for dtype, group in alike.items():
        cells = dense_columns(inputs, group, marker(dtype.name), dtype)
        result.update(zip(group, tf.split(cells, len(group), axis=1), strict=True))
    return result


def _converted(values: Any, dtype: Any) -> Any:
    """Return a Tensor or SparseTensor in another type."""
    import tensorflow as tf

    if values.dtype == dtype:
        return values
    if dtype != tf.string:
        return tf.cast(values, dtype)
    if isinstance(values, tf.SparseTensor):
        return tf.SparseTensor(values.indices, tf.strings.as_string(values.values), values.dense_shape)
    return tf.strings.as_string(values)


def filled(values: Any, default: Any) -> Any:
    """Return a SparseTensor [batch, 1] as a Tensor, with a default where it has no value."""
    import tensorflow as tf

    shape = tf.maximum(values.dense_shape, [0, 1])  # the width is 0 if no row has a value
    values = tf.sparse.to_dense(tf.SparseTensor(values.indices, values.values, shape), default_value=default)
    return tf.ensure_shape(values, [None, 1])


def filled_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return SparseTensors [batch, 1] as Tensors, with the value that stands for a missing cell.

    The columns of a type share the few operations, so that a graph hardly grows with them. A run fails if a row has
    several values in a column.
    """
    import tensorflow as tf

    alike: dict[Any, list[str]] = {}
    for name, values in columns.items():
        alike.setdefault(values.dtype, []).append(name)
    result: dict[str, Any] = {}
    for dtype, names in alike.items():
        group = [columns[name] for name in names]
        if len(group) == 1:  # SparseConcat takes two or more
            result[names[0]] = filled(group[0], marker(dtype.name))
            continue
        # One below the other, in a width of 1: the place of a second value in a row is then outside, and is refused.
        shape = tf.stack([group[0].dense_shape[0], 1])
        indices, cells, whole = tf.raw_ops.SparseConcat(
            indices=[values.indices for values in group],
            values=[values.values for values in group],
            shapes=[shape] * len(group),
            concat_dim=0,
        )
        below = tf.sparse.to_dense(tf.SparseTensor(indices, cells, whole), default_value=marker(dtype.name))
        result.update(zip(names, tf.unstack(tf.reshape(below, [len(names), -1, 1])), strict=True))
    return {name: result[name] for name in columns}


def _present(cells: Any, marks: Marks) -> Any:
    """Return False for each cell that stands for a missing one."""
    import tensorflow as tf

    present = tf.math.logical_not(tf.math.is_nan(cells)) if cells.dtype.is_floating else None
    for value in marks.of(cells.dtype.name):
        if value == value:  # NaN is not equal to itself
            differs = tf.not_equal(cells, tf.constant(value, cells.dtype))
            present = differs if present is None else present & differs
    return present
