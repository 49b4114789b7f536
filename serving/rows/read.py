"""Read the rows for predictions from a file: CSV, JSON, JSON lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError
from benison.serving.files import compressed
from benison.serving.number_text import PointNumber
from benison.serving.rows import json_rows, tables

Row = Mapping[str, Any]


def read_rows(path: str | Path, delimiter: str = ",", encoding: str = "utf-8") -> list[Row]:
    """Read the rows of a file.

    Args:
        path: The file. `.json` is a list of objects, or {"instances": [a list]}; `.jsonl` and `.ndjson` have an object
            per line; other files are as `tables` says. All but Parquet may be compressed.
        delimiter: Character between the cells of a CSV.
        encoding: Encoding of a CSV; a byte order mark is skipped.

    Raises:
        DataError: The file is missing, or is none of them.
    """
    path = Path(path)
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending == "json":
        return _json_rows(path)
    form = tables.form_of(str(path))
    rows = _json_lines(path) if form == tables.JSON_LINES else _table_rows(str(path), delimiter, encoding)
    if not rows:
        header = "a header line and " if form == tables.CSV else ""
        raise DataError(f"{path}: no rows; expected {header}at least one row")
    return rows


def read_columns(path: str | Path, rows: Sequence[Row], names: Sequence[str]) -> dict[str, pa.Array]:
    """Return columns of a file with their types: those of Parquet, numbers of JSON as such, otherwise text.

    Args:
        path: The file.
        rows: Its rows, as `read_rows` returns them.
        names: The columns.

    Raises:
        DataError: No row has a column; the message suggests a close name.
    """
    for name in names:
        if not any(name in row for row in rows):
            columns = sorted({column for row in rows for column in row})
            hint = did_you_mean(name, columns) or f"; they have {', '.join(columns)}"
            raise DataError(f"{path}: the rows have no column {name!r}{hint}")
    if tables.form_of(str(path)) == tables.PARQUET:
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=list(names))
        return {name: table[name].combine_chunks() for name in names}
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(cells: Sequence[Any]) -> pa.Array:
    """Return the cells as whole numbers, numbers or text."""
    present = [cell for cell in cells if cell is not None]
    kinds = {type(cell) for cell in present}
    largest = max((abs(cell) for cell in present if type(cell) is int), default=0)
    if kinds == {int} and largest < 2**63:
        return pa.array(cells, pa.int64())
    if kinds and kinds <= {int, float, PointNumber} and largest <= 2**53:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _table_rows(file: str, delimiter: str, encoding: str) -> list[Row]:
    header = tables.header(file, delimiter, encoding)
    tables.check_header(file, header)
    numbers = tables.numbers(file)
    rows: list[Row] = []
    for chunk in tables.chunks(file, header, delimiter, encoding):
        columns = [column.to_pylist() for column in chunk.batch().columns]
        for index, name in enumerate(header):
            if name in numbers and not chunk.is_list(index):
                columns[index] = [PointNumber(cell) for cell in columns[index]]
        rows += [dict(zip(header, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return rows


def _json_rows(path: Path) -> list[Row]:
    data = json_rows.parsed(_decoded(path), str(path))
    rows = data.get("instances") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: expected a list of objects, or {{"instances": [a list of objects]}}')
    return rows


def _json_lines(path: Path) -> list[Row]:
    return [
        {key: json_rows.word(value) if isinstance(value, bool) else value for key, value in record.items()}
        for _, records in json_rows.records(str(path), json_rows.FOR_PREDICTIONS)
        for record in records
    ]


def _decoded(path: Path) -> str:
    try:
        with compressed.opened(str(path)) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeError:
        raise DataError(f"{path}: not UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
