"""Read the rows for predictions from a file: CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benison.serving.errors import DataError
from benison.serving.files import compressed

Row = Mapping[str, Any]


def read_rows(path: str | Path, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    """Read the rows of a file.

    Args:
        path: The file. `.json` is a list of objects, or {"instances": [a list]}; `.jsonl` and `.ndjson` have an object
            per line; `.parquet` is Parquet; everything else is CSV with a header. All but Parquet may be compressed.
        delimiter: Character between the cells of a CSV.
        encoding: Encoding of a CSV; a byte order mark is skipped.

    Raises:
        DataError: The file is missing, or is none of them.
    """
    path = Path(path)
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending == "json":
        return _json_rows(path)
    if ending in ("jsonl", "ndjson"):
        rows = list(_json_lines(path))
    elif ending == "parquet":
        rows = _parquet_rows(path)
    else:
        rows = _csv_rows(path, delimiter, encoding)
    if not rows:
        header = "a header line and " if ending not in ("jsonl", "ndjson", "parquet") else ""
        raise DataError(f"{path}: no rows; expected {header}at least one row")
    return rows


def _csv_rows(path: Path, delimiter: str, encoding: str) -> list[Row]:
    from benison.serving.rows import csv_rows

    header = csv_rows.header(str(path), delimiter, encoding)
    csv_rows.check_header(str(path), header)
    return [
        dict(zip(header, row.cells, strict=True))
        for chunk in csv_rows.chunks(str(path), delimiter, encoding)
        for row in chunk.rows()
    ]


def _json_rows(path: Path) -> list[Row]:
    data = _json(_text(path), str(path))
    rows = data.get("instances") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: expected a list of objects, or {{"instances": [a list of objects]}}')
    return rows


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            row = _json(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise DataError(f'{path}, line {number}: expected an object, such as {{"age": 36}}')
            yield row


def _parquet_rows(path: Path) -> list[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows: list[Row] = parquet.read_table(str(path)).to_pylist()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise DataError(f"{path}: not Parquet, or damaged: {error}") from None
    return rows


def _text(path: Path) -> str:
    try:
        with compressed.opened(str(path)) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeError:
        raise DataError(f"{path}: not UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    except RecursionError:
        raise DataError(f"{where}: its lists or objects are nested too deep") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; Python would take the last of two equal keys without a word."""
    keys = [key for key, _ in pairs]
    if doubles := sorted({key for key in keys if keys.count(key) > 1}):
        raise DataError(f"an object has the key {doubles[0]!r} more than once")
    return dict(pairs)
