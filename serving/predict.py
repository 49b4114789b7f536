"""Predictions of a pushed version in this process, and the reader of rows from CSV and JSON files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benison.serving.errors import DataError, VersionError
from benison.serving.signature_names import argument_names
from benison.serving.versions import condition, local
from benison.serving.versions.local import Version

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row.

    Attributes:
        output: Float by class name, or {"prediction": float} for regression.
        members: The same by member; empty unless requested.
    """

    output: Mapping[str, float]
    members: Mapping[str, Mapping[str, float]]


def predict(version: Version, rows: Sequence[Row], *, members: bool = False, verify: bool = True) -> list[Prediction]:
    """Call a version's `raw` signature, and its `members` signature on request.

    Args:
        version: A pushed version.
        rows: Values by raw feature; None and the pipeline's marks for missing values are missing. Other columns are
            ignored.
        members: Also return the prediction of each member.
        verify: Compare all files of the version with its manifest first.

    Raises:
        DataError: A feature is missing in a row or has the wrong type; the message names row and feature.
        VersionError: The version is damaged or has no such signature.
    """
    if not rows:
        return []
    if verify and (state := condition.check(version.path)).is_damaged:
        raise local.damage(version.path.parent, version.number, state.problems)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version.path))
    signatures = loaded.signatures
    for name in ["raw", "members"] if members else ["raw"]:
        if name not in signatures:
            raise VersionError(f"{version.path}: no signature {name!r}; it has {', '.join(sorted(signatures))}")
    missing, decimal = frozenset(version.manifest.missing), version.manifest.decimal
    # Sorted, because their order changes from run to run in newer TensorFlow: the first mistake is always the same.
    specs = dict(sorted(signatures["raw"].structured_input_signature[1].items()))
    rows = [{argument: row[name] for name, argument in argument_names(row).items()} for row in rows]
    inputs = {
        name: tf.constant(_column(name, spec.dtype, rows, missing, decimal), spec.dtype) for name, spec in specs.items()
    }
    answer = {name: value.numpy() for name, value in signatures["raw"](**inputs).items()}
    names = [name.decode() for name in answer["classes"][0]] if "classes" in answer else ["prediction"]
    output = answer["probabilities"] if "classes" in answer else answer["prediction"]
    by_member = {n: v.numpy() for n, v in signatures["members"](**inputs).items()} if members else {}
    return [
        Prediction(
            output=_named(names, output[i]),
            members={
                member: _named(names, by_member[member][i])
                for member in version.manifest.members or sorted(by_member)
                if member in by_member
            },
        )
        for i in range(len(rows))
    ]


def read_rows(path: str | Path, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    """Read the rows of a CSV file with a header, or of a JSON file: a list of objects, or {"instances": [a list]}.

    Args:
        path: The file; .json is JSON in UTF-8, everything else is CSV.
        delimiter: Character between the cells of a CSV.
        encoding: Encoding of a CSV; a UTF-8 byte order mark is skipped.

    Raises:
        DataError: The file is missing, or is neither of them.
    """
    path = Path(path)
    is_json = path.suffix.lower() == ".json"
    encoding = "utf-8" if is_json else encoding
    try:
        text = path.read_text(encoding="utf-8-sig" if encoding == "utf-8" else encoding)
    except (OSError, UnicodeError) as error:
        raise DataError(
            f"{path}: {error.strerror if isinstance(error, OSError) else f'not {encoding.upper()}'}"
        ) from None
    if is_json:
        return _json_rows(path, text)
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows: list[Row] = list(lines)
    except csv.Error as error:
        raise DataError(f"{path}, after line {lines.line_num}: {error}") from None
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise DataError(f"{path}, row {number}: its number of cells differs from the header")
    if not rows:
        raise DataError(f"{path}: no rows; expected a header line and at least one row")
    return rows


def _json_rows(path: Path, text: str) -> list[Row]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    rows = data.get("instances") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: expected a list of objects, or {{"instances": [a list of objects]}}')
    return rows


def _column(name: str, dtype: Any, rows: Sequence[Row], missing: frozenset[str], decimal: str = ".") -> list[Any]:
    """Return a raw feature of all rows; a missing value is '', NaN or -1, as the `raw` signature expects."""
    missing_value: Any
    convert: Callable[[Any], Any]
    if dtype.name == "string":
        missing_value, convert, expected = "", str, "text"
    elif dtype.is_floating:
        missing_value, convert, expected = float("nan"), partial(_number, decimal=decimal), "a number"
    else:
        missing_value, convert, expected = -1, int, "a whole number"
    values = []
    for number, row in enumerate(rows, start=1):
        if name not in row:
            raise DataError(f"row {number}: no column {name!r}; it has {', '.join(sorted(row))}")
        value = row[name]
        try:
            values.append(missing_value if value is None or str(value) in missing else convert(value))
        except ValueError:
            raise DataError(f"row {number}, column {name!r}: got {str(value)[:80]!r}, expected {expected}") from None
    return values


def _number(value: Any, decimal: str) -> float:
    """Convert a number, or its text in the format of the pipeline's CSV."""
    if not isinstance(value, str) or decimal == ".":
        return float(value)
    if "." in value:  # with decimal commas, 1.234 may be a thousand
        raise ValueError(value)
    return float(value.replace(decimal, "."))


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))
