"""The values that stand for a missing cell in a version's signatures `raw`, `packed` and `members`.

The tensors of these signatures have no gaps. The values are '' for text, NaN for a float and `MISSING_INTEGER` for an
integer; data must not contain that integer. Versions that Benison pushed before `assets.extra/raw_inputs.json` existed
take -1 for a missing integer.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.errors import VersionError
from benison.serving.number_text import finite_number, is_infinite, whole_number

if TYPE_CHECKING:
    import numpy as np

FILE = "assets.extra/raw_inputs.json"
# -(2^53 - 1): the most negative integer that every reader of JSON represents exactly, JavaScript's too.
MISSING_INTEGER = -9007199254740991
FORMER_MISSING_INTEGER = -1
# The signatures that take these values; `serving_default` of a model that `benison ensemble fuse` wrote.
SIGNATURES = ("raw", "members", "serving_default")

_FORMAT = 1
_NAN = "NaN"  # strict JSON has no NaN


def marker(dtype: str, integer: int = MISSING_INTEGER) -> Any:
    """Return the value that stands for a missing cell of a TensorFlow type, such as `int64`."""
    if dtype == "string":
        return ""
    return float("nan") if dtype.startswith(("float", "bfloat", "half")) else integer


def among_texts(marks: Iterable[str]) -> frozenset[str]:
    """Return the marks that mean "no value" among texts: infinite numbers, such as inf, do so only among numbers."""
    return frozenset(mark for mark in marks if not is_infinite(mark))


@dataclass(frozen=True)
class Marks:
    """Marks of cells without a value in the CSV files of a pipeline, such as NA or -999.

    Attributes:
        texts: The cells.
        decimal: The decimal mark of numbers.
    """

    texts: tuple[str, ...] = ()
    decimal: str = "."

    def of(self, dtype: str) -> list[Any]:
        """Return the values of a TensorFlow type that stand for a missing cell: the marker, and the cells as values."""
        if dtype == "string":
            return [marker(dtype), *(text for text in self.texts if not is_infinite(text))]
        read = finite_number if dtype.startswith("float") else whole_number
        values = [marker(dtype)]
        for text in self.texts:
            with contextlib.suppress(ValueError):
                values.append(read(text, self.decimal))
        return values


NO_MARKS = Marks()


def is_marker(value: Any, missing: Any) -> bool:
    """Return True if a value of a column is the one that stands for a missing cell."""
    if isinstance(missing, float):
        return bool(value != value)  # NaN differs from itself, numpy's too
    return bool(value == (missing.encode() if isinstance(value, bytes) else missing))


def describe(columns: Mapping[str, tuple[str, str, bool]]) -> dict[str, dict[str, Any]]:
    """Return the inputs of `raw` as `raw_inputs.json` and the manifest describe them.

    Args:
        columns: by input, the name of its column, its TensorFlow type, and True if a cell may be missing.
    """
    return {
        name: describe_input(column, dtype, marker(dtype) if optional else None)
        for name, (column, dtype, optional) in sorted(columns.items())
    }


def describe_input(column: str, dtype: str, missing: Any) -> dict[str, Any]:
    """Describe one input, see `describe`; `missing` is the value for a missing cell, None if the input is required."""
    value = {} if missing is None else {"missing": _NAN if isinstance(missing, float) else missing}
    return {"column": column, "type": dtype, **value}


def write(
    folder: Path, inputs: Mapping[str, Mapping[str, Any]], packed: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write the description of the inputs beside a SavedModel.

    Args:
        folder: the SavedModel.
        inputs: see `describe`.
        packed: the inputs in each input of the signature `packed`, in their order; None if it has no such signature.
    """
    file = folder / FILE
    file.parent.mkdir(exist_ok=True)
    content = {"format": _FORMAT, "inputs": {name: dict(described) for name, described in inputs.items()}}
    if packed:
        content["packed"] = {dtype: list(order) for dtype, order in packed.items()}
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_inputs(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Read the description of a version's inputs; None if an older Benison or another tool exported the version.

    Raises:
        VersionError: The file is broken, or a newer Benison wrote it.
    """
    return _read(folder)[0]


def read_packed(folder: Path) -> dict[str, tuple[str, ...]]:
    """Read the inputs of `raw` in each input of `packed`, in their order; empty if a version has no such signature.

    Raises:
        VersionError: The file is broken, or a newer Benison wrote it.
    """
    return _read(folder)[1]


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]] | None, dict[str, tuple[str, ...]]]:
    file = folder / FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] > _FORMAT:
            raise VersionError(f"{file}: a newer Benison wrote format {content['format']}; update Benison to read it")
        packed = {dtype: tuple(order) for dtype, order in content.get("packed", {}).items()}
        return {name: {"column": i["column"], "type": i["type"], **i} for name, i in content["inputs"].items()}, packed
    except (FileNotFoundError, NotADirectoryError):
        return None, {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise VersionError(
            f"{file}: not a description of inputs ({error}); the version is damaged: roll back, or push it again"
        ) from None


def arguments(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the input of each column.

    Args:
        inputs: From `raw_inputs.json` or from the manifest.
    """
    return {described["column"]: name for name, described in inputs.items()}


def markers(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the value for a missing cell by input; inputs without one are required.

    Args:
        inputs: From `raw_inputs.json` or from the manifest.
    """
    values = {name: described["missing"] for name, described in inputs.items() if described.get("missing") is not None}
    return {name: float("nan") if _is_nan(inputs[name], value) else value for name, value in values.items()}


def _is_nan(described: Mapping[str, Any], value: Any) -> bool:
    return bool(value == _NAN and described["type"] != "string")


def fill_rows(rows: Sequence[Any], missing: Mapping[str, Any]) -> Sequence[Any]:
    """Return rows in which null and an absent key are the value for a missing cell; the same object if none is.

    Args:
        rows: Objects by input name; rows that are not objects stay as they are.
        missing: See `markers`.
    """
    filled = [_fill_row(row, missing) if isinstance(row, Mapping) else row for row in rows]
    return rows if all(new is old for new, old in zip(filled, rows, strict=True)) else filled


def _fill_row(row: Mapping[str, Any], missing: Mapping[str, Any]) -> Mapping[str, Any]:
    gaps = {name: value for name, value in missing.items() if row.get(name) is None}
    return {**row, **gaps} if gaps else row


def fill_columns(columns: Mapping[str, Any], missing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return columns in which null and an absent key are the value for a missing cell; the same object if none is.

    Args:
        columns: A list or array of values by input name.
        missing: See `markers`.
    """
    if not missing:
        return columns
    sizes = {len(column) for column in columns.values() if _is_column(column)}
    changed: dict[str, Any] = {}
    for name, value in missing.items():
        column = columns.get(name)
        cells = _cells(column)
        if column is None and len(sizes) == 1:
            changed[name] = [value] * next(iter(sizes))
        elif any(cell is None for cell in cells):
            changed[name] = [value if cell is None else cell for cell in cells]
    return {**columns, **changed} if changed else columns


def _is_column(column: Any) -> bool:
    """Return True if an input has a length: neither a single value nor an array without dimensions."""
    return isinstance(column, Sized) and not isinstance(column, str) and bool(getattr(column, "shape", True))


def _cells(column: Any) -> Sequence[Any]:
    """Return the cells of a column that can contain None: a list or an array of Python objects; else none."""
    if str(getattr(column, "dtype", "")) == "object":
        return list(column.tolist())
    return column if isinstance(column, (list, tuple)) else ()


def fill_arrays(columns: Mapping[str, Any], missing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the columns of `fill_columns` as arrays in the types of `raw`: int64, float32, or text."""
    filled = fill_columns(columns, missing)
    if filled is columns:
        return columns
    return {
        name: column if column is columns.get(name) else _array(column, missing[name])
        for name, column in filled.items()
    }


def _array(values: Sequence[Any], missing: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if isinstance(missing, str):
        return np.array(values, object)
    return np.array(values, np.float32 if isinstance(missing, float) else np.int64)
