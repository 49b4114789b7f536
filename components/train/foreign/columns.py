"""The inputs of a foreign model, computed from raw columns in TensorFlow operations.

Transform gives the raw columns of such members as features [batch, n]. A missing cell has the value that stands for it:
'' for text, NaN for a float, `MISSING_INTEGER` for an integer (`benison.serving.missing_values`). Here it becomes what
the YAML says that the model gets, and a number becomes one of the type that the model takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isnan, prod
from typing import Any

from benison.components.train.foreign.settings import ForeignModel
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.missing_values import marker

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTEGERS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}  # bits


@dataclass(frozen=True)
class ModelInput:
    """An input of a model.

    Attributes:
        dtype: TensorFlow's name of its type, such as float32 or string.
        shape: its sizes, None for any size; None if even the rank is not known.
    """

    dtype: str
    shape: Sequence[int | None] | None

    @property
    def text(self) -> str:
        """Type and shape, for messages."""
        sizes = "of any shape" if self.shape is None else f"[{', '.join(map(_size, self.shape))}]"
        return f"{self.dtype} {sizes}"


def inputs_of(
    model: ForeignModel, inputs: Mapping[str, ModelInput], features: Mapping[str, Any], optional: Collection[str]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the function from raw columns to the inputs of a model.

    Args:
        model: its settings.
        inputs: what the model takes, by name.
        features: the columns' parsing specs in Transform's output, by column.
        optional: the columns of which a cell may be missing.

    Returns:
        A function from Tensors [batch, n] by column to Tensors by input.

    Raises:
        UsageError: an input has no columns, or columns that do not fit; the message names it.
    """
    if absent := [name for name in inputs if name not in model.inputs]:
        got = f"the model also needs the input {absent[0]!r}, {inputs[absent[0]].text}; name its column"
        raise UsageError(f"{model.where('inputs')}: {got}")
    for name in model.inputs:
        if name not in inputs:
            raise UsageError(
                f"{model.where(f'inputs.{name}')}: the model has no such input{did_you_mean(name, inputs)} (it has "
                f"{', '.join(f'{known}: {of_it.text}' for known, of_it in inputs.items())})"
            )
    parts = {name: _input(model, name, inputs[name], features, optional) for name in model.inputs}
    return lambda columns: {name: part(columns) for name, part in parts.items()}


def _input(
    model: ForeignModel, name: str, target: ModelInput, features: Mapping[str, Any], optional: Collection[str]
) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function of one input; see `inputs_of`."""
    columns = model.inputs[name]
    where = model.where(f"inputs.{name}")
    widths = {column: prod(features[column].shape or [1]) for column in columns}
    shape = _shape(where, target, columns, sum(widths[column] for column in columns))
    cells = [
        partial(
            _cells, name=column, target=target.dtype, missing=_missing(model, name, target, column, features, optional)
        )
        for column in columns
    ]

    def values(raw: Mapping[str, Any]) -> Any:
        import tensorflow as tf

        parts = [
            cell(tf.reshape(raw[column], [-1, widths[column]])) for column, cell in zip(columns, cells, strict=True)
        ]
        return tf.reshape(parts[0] if len(parts) == 1 else tf.concat(parts, axis=1), shape)

    return values


def _shape(where: str, target: ModelInput, columns: Sequence[str], total: int) -> list[int]:
    """Return the shape of an input's tensor, -1 for the rows.

    Args:
        where: the place of the input, for messages.
        target: the input.
        columns: its columns.
        total: the number of their values per row.

    Raises:
        UsageError: the columns do not have it.
    """
    got = f"{total} value{'s' * (total > 1)} per row ({', '.join(columns)})"
    if target.shape is None:
        return [-1] if total == 1 else [-1, total]
    if not target.shape:
        raise UsageError(f"{where}: the input is one value for all rows, and a column has one per row")
    if target.shape[0] is not None:
        raise UsageError(
            f"{where}: the model takes exactly {target.shape[0]} rows per call ({target.text}), expected any number: "
            "export it with a batch dimension of any size"
        )
    sizes = target.shape[1:]
    open_sizes = [place for place, size in enumerate(sizes) if size is None]
    if len(open_sizes) > 1:
        raise UsageError(f"{where}: the input is {target.text}, whose sizes are not known; export it with fixed sizes")
    known = prod(size for size in sizes if size is not None)
    fits = total == known if not open_sizes else known > 0 and total % known == 0
    if not fits:
        raise UsageError(f"{where}: the columns have {got}, and the input is {target.text}")
    return [-1, *(total // known if size is None else size for size in sizes)]


def _missing(
    model: ForeignModel,
    name: str,
    target: ModelInput,
    column: str,
    features: Mapping[str, Any],
    optional: Collection[str],
) -> Any:
    """Return what the model gets for a missing cell; None if there is none.

    Raises:
        UsageError: the column has another type than the input, or nothing stands for a missing cell.
    """
    where, dtype = model.where(f"inputs.{name}"), features[column].dtype.name
    takes_text, takes_floats, takes_integers = (
        target.dtype == "string",
        target.dtype in _FLOATS,
        target.dtype in _INTEGERS,
    )
    if not (takes_text or takes_floats or takes_integers):
        raise UsageError(f"{where}: the input is {target.dtype}, expected text, a float or a signed integer")
    if takes_text != (dtype == "string") or (takes_integers and dtype != "int64"):
        kind = {"string": "text", "int64": "a whole number", "float32": "a number with decimals"}.get(dtype, dtype)
        raise UsageError(
            f"{where}: the column {column!r} is {kind}, and the input is {target.dtype}; map another column, or export "
            "the model with an input of this type"
        )
    if column not in model.missing:
        if takes_integers and column in optional:
            raise UsageError(
                f"{model.where('missing')}: a cell of the column {column!r} may be missing, and the input {name!r} is "
                f"{target.dtype}, which has no value for that; name what the model gets, such as missing: "
                f"{{{column}: -1}}"
            )
        return None if takes_integers else ("" if takes_text else float("nan"))
    value = model.missing[column]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = isinstance(value, str) if takes_text else is_number and (takes_floats or float(value).is_integer())
    bits = _INTEGERS.get(target.dtype)
    if fits and bits and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        fits = False
    if not fits:
        raise UsageError(
            f"{model.where(f'missing.{column}')}: got {value!r}, and the input {name!r} is {target.dtype}; expected "
            f"{'text' if takes_text else f'a number that {target.dtype} has'}"
        )
    return value


def _cells(values: Any, name: str, target: str, missing: Any) -> Any:
    """Return a column's cells in the type of a model's input.

    Args:
        values: Tensor [batch, n], with the value that stands for a missing cell.
        name: the column, for the message of a run.
        target: TensorFlow's name of the type.
        missing: what stands for a missing cell in the result; None: no cell is missing.
    """
    import tensorflow as tf

    dtype = tf.as_dtype(target)
    own = marker(values.dtype.name)
    if values.dtype.is_floating:
        is_missing = tf.math.is_nan(values)
        converted = tf.cast(values, dtype)
        return (
            converted
            if missing is None or isnan(missing)
            else tf.where(is_missing, _constant(missing, dtype), converted)
        )
    is_missing = tf.equal(values, tf.constant(own, values.dtype))
    if values.dtype == tf.string:
        return values if missing in (None, "") else tf.where(is_missing, _constant(missing, dtype), values)
    if target in _INTEGERS and target != "int64":
        # A cast would keep only the last bits of a number that the type does not have.
        fits = is_missing | ((values >= dtype.min) & (values <= dtype.max))
        check = tf.debugging.Assert(
            tf.reduce_all(fits), [f"the column {name!r} has a number that {target} does not have, in a foreign member"]
        )
        with tf.control_dependencies([] if check is None else [check]):
            values = tf.identity(values)
    converted = tf.cast(values, dtype)
    return converted if missing is None else tf.where(is_missing, _constant(missing, dtype), converted)


def _constant(value: Any, dtype: Any) -> Any:
    import tensorflow as tf

    return tf.constant(value, dtype) if dtype == tf.string else tf.cast(tf.constant(value), dtype)


def _size(size: int | None) -> str:
    return "any" if size is None else str(size)
