"""Predictions of a pushed version, in this process: rows in as text, answers out."""

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
from benison.serving.versions.local import Version

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Prediction:
    """The answer for one row.

    Attributes:
        output: float by class name, or {"prediction": float} for regression.
        members: the same by member; empty unless asked for.
    """

    output: Mapping[str, float]
    members: Mapping[str, Mapping[str, float]]


def predict(version: Version, rows: Sequence[Row], *, members: bool = False) -> list[Prediction]:
    """Asks a version's `raw` signature, and its `members` signature where wanted.

    Args:
        version: a pushed one.
        rows: values by raw feature; None, and the marks that the pipeline takes for missing, are missing values.
            Further columns are ignored.
        members: also what each member says.

    Raises:
        DataError: a row lacks a feature or has one of the wrong type; names row and feature.
        VersionError: the version lacks the signature.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(version.path))
    signatures = loaded.signatures
    for wanted in ["raw", "members"] if members else ["raw"]:
        if wanted not in signatures:
            raise VersionError(f"{version.path}: no signature {wanted!r}; it has {', '.join(sorted(signatures))}")
    missing, decimal = frozenset(version.manifest.get("missing", [""])), version.manifest.get("decimal", ".")
    # Sorted, because the newer TensorFlow has them in another order each time: of two faults it is always the same one
    # that is named.
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
                for member in version.manifest.get("members", sorted(by_member))
                if member in by_member
            },
        )
        for i in range(len(rows))
    ]


def read_rows(path: Path, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    """Rows of a CSV file with a header, or of a JSON file: a list of objects, or {"instances": […]} as TF Serving's.

    Args:
        path: a file; one that ends in .json is JSON, and UTF-8.
        delimiter: between the cells of a CSV.
        encoding: of a CSV; a UTF-8 byte order mark is passed over.

    Raises:
        DataError: the file is missing or is neither.
    """
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
            raise DataError(f"{path}, row {number}: not as many cells as the header has")
    if not rows:
        raise DataError(f"{path}: no rows; expected a header line and at least one more")
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
    """A raw feature of all rows, a missing value as the `raw` signature wants it: '', NaN or -1."""
    absent: Any
    convert: Callable[[Any], Any]
    if dtype.name == "string":
        absent, convert, kind = "", str, "text"
    elif dtype.is_floating:
        absent, convert, kind = float("nan"), partial(_number, decimal=decimal), "a number"
    else:
        absent, convert, kind = -1, int, "a whole number"
    values = []
    for number, row in enumerate(rows, start=1):
        if name not in row:
            raise DataError(f"row {number}: no column {name!r}; it has {', '.join(sorted(row))}")
        value = row[name]
        try:
            values.append(absent if value is None or str(value) in missing else convert(value))
        except ValueError:
            raise DataError(f"row {number}, column {name!r}: got {str(value)[:80]!r}, expected {kind}") from None
    return values


def _number(value: Any, decimal: str) -> float:
    """A number, or the text of one as the pipeline's CSV has it."""
    if not isinstance(value, str) or decimal == ".":
        return float(value)
    if "." in value:  # where commas are decimal, 1.234 may be a thousand
        raise ValueError(value)
    return float(value.replace(decimal, "."))


def _named(names: Sequence[str], values: Any) -> dict[str, float]:
    return dict(zip(names, map(float, values), strict=True))
