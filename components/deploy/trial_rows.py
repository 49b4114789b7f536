"""The rows of a trial in the forms of all paths: columns of `raw`, serialised tf.Examples, and rows of JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components import raw_examples
from benison.components.deploy.boundary_rows import RawColumn, boundary_rows
from benison.components.evaluate.raw_rows import examples, raw_rows
from benison.serving.missing_values import is_marker, marker


@dataclass(frozen=True)
class TrialRows:
    """Real rows, followed by boundary rows.

    Attributes:
        inputs: values [rows], or [rows, n], by argument of `raw`.
        examples: the same rows as serialised tf.Examples [rows].
        real: number of real rows.
        missing: the value of a missing cell by argument; required arguments have none.
    """

    inputs: Mapping[str, NDArray]
    examples: NDArray
    real: int
    missing: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, rows: Sequence[int]) -> TrialRows:
        """Return only some rows, which must include the real ones."""
        kept = list(rows)
        return replace(
            self, inputs={name: values[kept] for name, values in self.inputs.items()}, examples=self.examples[kept]
        )

    def json_columns(self) -> dict[str, list[Any]]:
        """Return the columns as JSON, with the values that stand for missing cells."""
        return {name: [_json(value) for value in values] for name, values in self.inputs.items()}

    def json_rows(self) -> list[dict[str, Any]]:
        """Return the rows as JSON; a missing cell is null in even rows, and absent in odd rows."""
        columns = self.json_columns()
        rows = []
        for number in range(len(self)):
            gaps = [name for name, value in self.missing.items() if is_marker(self.inputs[name][number], value)]
            row = {name: None if name in gaps else cells[number] for name, cells in columns.items()}
            rows.append({name: cell for name, cell in row.items() if name not in gaps} if number % 2 else row)
        return rows


@dataclass(frozen=True)
class IncompleteRow:
    """A real row without the cell of a required column; every path must refuse it."""

    column: str
    example: bytes
    json: Mapping[str, Any]


def build(
    records: NDArray, spec: Mapping[str, Any], arguments: Mapping[str, str], seen: Mapping[str, tuple[Any, Any]]
) -> tuple[TrialRows, list[IncompleteRow]]:
    """Return the rows of a trial, and one incomplete row per required column.

    Args:
        records: serialised tf.Examples of the real rows.
        spec: parsing spec of the raw features; it may contain the label.
        arguments: the argument of `raw` of each column that is an input.
        seen: the smallest and the largest value of numeric features.
    """
    import tensorflow as tf

    features = {name: spec[name] for name in arguments}
    columns = {argument: name for name, argument in arguments.items()}
    missing = {
        arguments[name]: marker(feature.dtype.name)
        for name, feature in features.items()
        if not isinstance(feature, tf.io.FixedLenFeature) and not raw_examples.is_list(feature)
    }
    lists = frozenset(arguments[name] for name, feature in features.items() if raw_examples.is_list(feature))
    real = raw_rows(records, spec, arguments)
    described = {
        name: RawColumn(values.dtype, _usual(values, missing.get(name)), missing.get(name), seen.get(columns[name], ()))
        for name, values in real.items()
    }
    boundary = boundary_rows(described)
    rows = TrialRows(
        inputs={name: np.concatenate([values, boundary[name]]) for name, values in real.items()},
        examples=np.concatenate([records, examples(boundary, columns, missing, lists=lists)]),
        real=len(records),
        missing=missing,
    )
    first = {name: values[:1] for name, values in real.items()}
    cells = {name: _json(values[0]) for name, values in first.items()}
    incomplete = [
        IncompleteRow(
            columns[name],
            examples(first, columns, missing, without=name, lists=lists)[0],
            {**cells, name: None},
        )
        for name in real.keys() - missing.keys() - lists
    ]
    return rows, incomplete


def _usual(values: NDArray, missing: Any) -> Any:
    """Return the first value that is not missing; the first one if all are."""
    present = [value for value in values if missing is None or not is_marker(value, missing)]
    return present[0] if present else values[0]


def _json(value: Any) -> Any:
    """Convert a value to JSON: text as text, other bytes as base64, numbers as numbers (NaN in TF Serving's form)."""
    if isinstance(value, np.ndarray):
        return [_json(each) for each in value]
    if not isinstance(value, bytes):
        return value.item()
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
