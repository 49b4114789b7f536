"""Reads predict requests from JSON into tensors by TF Serving's rules (json_tensor.cc): row and columnar form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from benison.serving import missing_values
from benison.serving.server.codec.json_values import decode_base64, excerpt, is_base64, type_name
from benison.serving.server.engine import TensorSpec
from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

MAX_LEVELS = 31  # numpy supports 32 dimensions, and the rows may be one of them
_RANGES = {
    **dict.fromkeys(["int32"], (-(2**31), 2**31 - 1)),
    "int16": (-(2**15), 2**15 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
_LEAF_TYPES: Mapping[str, frozenset[type]] = {
    "float32": frozenset([int, float]),
    "float64": frozenset([int, float]),
    "bool": frozenset([bool]),
    "string": frozenset([str, dict]),
    **dict.fromkeys(_RANGES, frozenset([int])),
}


def read_inputs(
    document: Mapping[str, Any], specs: Mapping[str, TensorSpec], missing: Mapping[str, Any] | None = None
) -> tuple[dict[str, np.ndarray[Any, Any]], bool]:
    """Read the tensors of a predict request.

    Args:
        document: the request.
        specs: the signature's inputs, by name.
        missing: by input, the value of a missing cell, which may be null or left out in the request.

    Returns:
        The tensors by name, and whether the answer must be in row form.

    Raises:
        RequestError: The request breaks a rule; the message is TF Serving's.
    """
    if "instances" in document:
        if "inputs" in document:
            raise invalid(
                f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid(f"JSON Value: {excerpt(document)} Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid(f"JSON Value: {excerpt(document)} No values in 'instances' array")
        return _from_rows(instances, specs, missing or {}), True
    if "inputs" in document:
        return _from_columns(document["inputs"], specs, missing or {}), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _from_rows(
    instances: Sequence[Any], specs: Mapping[str, TensorSpec], missing: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    named = _is_named(instances[0])
    if not named and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    if named and all(isinstance(row, dict) and row.keys() == specs.keys() for row in instances):
        columns = {name: _fast_column([row[name] for row in instances], spec) for name, spec in specs.items()}
    elif named:
        columns = {}
    else:
        name, spec = next(iter(specs.items()))
        columns = {name: _fast_column(instances, spec)}
    if columns and all(column is not None for column in columns.values()):
        return {name: column for name, column in columns.items() if column is not None}
    # Only now, so that a request without a missing cell does not pay for it.
    filled = missing_values.fill_rows(instances, missing) if named and missing else instances
    if filled is not instances:
        return _from_rows(filled, specs, {})
    return _row_by_row(instances, specs, named)


def _fast_column(column: Sequence[Any], spec: TensorSpec) -> np.ndarray[Any, Any] | None:
    """Read a column of scalars or of equally long lists of scalars; return None if the slow path must check it."""
    import numpy as np

    leaves: Sequence[Any] = column
    shape: tuple[int, ...] = (len(column),)
    if type(column[0]) is list:
        widths = {len(row) if type(row) is list else -1 for row in column}
        if len(widths) != 1 or -1 in widths:
            return None
        leaves, shape = list(chain.from_iterable(column)), (len(column), widths.pop())
    types = set(map(type, leaves))
    if spec.dtype == "string":
        if types != {str}:
            return None
        array = np.empty(len(leaves), object)
        array[:] = [leaf.encode("utf-8", "surrogatepass") for leaf in leaves]
        return array.reshape(shape)
    if not types <= _LEAF_TYPES.get(spec.dtype, frozenset()) or (
        spec.dtype in _RANGES and not _in_range(leaves, spec.dtype)
    ):
        return None
    return _numbers(leaves, spec.dtype).reshape(shape)


def _row_by_row(
    instances: Sequence[Any], specs: Mapping[str, TensorSpec], named: bool
) -> dict[str, np.ndarray[Any, Any]]:
    """Check one value after the other, so that the message names the first one that breaks a rule."""
    leaves: dict[str, list[Any]] = {name: [] for name in specs}
    shapes: dict[str, tuple[int, ...]] = {}
    for position, instance in enumerate(instances):
        if _is_named(instance) is not named:
            raise invalid(
                f"Expecting object but got list at item {position} of input list"
                if named
                else f"Expecting value/list but got object at item {position} of input list"
            )
        for name, value in instance.items() if named else [(next(iter(specs)), instance)]:
            prefix = f"Failed to process element: {position}{f' key: {name}' if named else ''} of 'instances' list."
            try:
                shape = _row_value(name, value, specs, leaves, shapes)
            except RequestError as error:
                raise invalid(f"{prefix} Error: {error.code.name}: {error.message}") from None
            shapes.setdefault(name, shape)
        if named and instance.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {excerpt(instance)} "
                f"keys must be equal to: {','.join(sorted(specs))}"
            )
    return {name: _array(leaves[name], (len(instances), *shapes[name]), spec) for name, spec in specs.items()}


def _row_value(
    name: str,
    value: Any,
    specs: Mapping[str, TensorSpec],
    leaves: Mapping[str, list[Any]],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[int, ...]:
    """Add one value of one row to the leaves and return its shape."""
    if name not in specs:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    size_before = len(leaves[name])
    leaves[name].extend(_leaves(value, shape, 0, specs[name]))
    expected = shapes.get(name, shape)
    if expected != shape:
        size, expected_size = len(leaves[name]) - size_before, _product(expected)
        if size != expected_size:
            raise invalid(f"Expecting tensor size: {expected_size} but got: {size}")
        raise invalid(f"Expecting shape {_shape_text(expected)} but got: {_shape_text(shape)}")
    return shape


def _from_columns(
    value: Any, specs: Mapping[str, TensorSpec], missing: Mapping[str, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    if not _is_named(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        name, spec = next(iter(specs.items()))
        return {name: _tensor(value, spec)}
    # An unknown name may be a misspelt one, whose column must not count as missing.
    if missing and (specs.keys() >= value.keys() or specs.keys() <= value.keys()):
        value = missing_values.fill_columns(value, missing)
    columns = {}
    for name, spec in specs.items():
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        columns[name] = _tensor(value[name], spec)
    return columns


def _tensor(value: Any, spec: TensorSpec) -> np.ndarray[Any, Any]:
    if type(value) is list and value:
        column = _fast_column(value, spec)
        if column is not None:
            return column
    shape = _shape(value)
    return _array(list(_leaves(value, shape, 0, spec)), shape, spec)


def _shape(value: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, taken from the first element of each level."""
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > MAX_LEVELS:
            raise invalid(f"Lists are nested deeper than {MAX_LEVELS} levels")
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _leaves(value: Any, shape: tuple[int, ...], level: int, spec: TensorSpec) -> Iterator[Any]:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        yield _leaf(value, spec)
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        yield from _leaves(item, shape, level + 1, spec)


def _leaf(value: Any, spec: TensorSpec) -> Any:
    if spec.dtype not in _LEAF_TYPES:
        raise RequestError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {excerpt(value)} to type: {spec.cpp_dtype}")
    valid = type(value) in _LEAF_TYPES[spec.dtype] and (spec.dtype not in _RANGES or _in_range([value], spec.dtype))
    if not valid:
        raise invalid(
            f"JSON Value: {excerpt(value)} Type: {type_name(value)} is not of expected type: {spec.cpp_dtype}"
        )
    if isinstance(value, dict):
        return decode_base64(value)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _in_range(leaves: Sequence[int], dtype: str) -> bool:
    low, high = _RANGES[dtype]
    return not leaves or (min(leaves) >= low and max(leaves) <= high)


def _array(leaves: Sequence[Any], shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray[Any, Any]:
    import numpy as np

    if spec.dtype == "string":
        array = np.empty(len(leaves), object)
        array[:] = leaves
        return array.reshape(shape)
    if spec.dtype not in _LEAF_TYPES:  # `_leaf` checks this, but there was no leaf
        raise RequestError(Code.UNIMPLEMENTED, f"Conversion of JSON values to type: {spec.cpp_dtype}")
    return _numbers(leaves, spec.dtype).reshape(shape)


def _numbers(leaves: Sequence[Any], dtype: str) -> np.ndarray[Any, Any]:
    """Return numbers of a valid type as an array; numbers beyond the range of a float become infinite, as in C++."""
    import numpy as np

    with np.errstate(over="ignore"):
        try:
            return np.array(leaves, dtype)
        except OverflowError:  # an integer beyond any float, which only Python's parser accepts
            return np.array([float(str(leaf)) for leaf in leaves], dtype)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


def _product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def _shape_text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
