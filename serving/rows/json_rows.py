"""The records of a file of JSON lines, in chunks of text: an object per line, whose keys are the columns.

Every value becomes the text that a CSV has for it: a number as it is written, `true` or `false`, a text as it is. null
and an absent key are the empty cell. A list of values is a list of texts. The columns are the keys of the first lines
(`csv_blocks.BLOCK` bytes).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from benison.serving.errors import DataError
from benison.serving.number_text import PointNumber
from benison.serving.rows.chunks import Chunk
from benison.serving.rows.csv_blocks import blocks

_Lines = tuple[list[int], list[dict[str, Any]]]  # numbers of lines, and their objects


def header(file: str) -> list[str]:
    """Return the keys of the first lines, in the order in which they appear.

    Raises:
        DataError: The file cannot be read, has no rows, or a line is no object.
    """
    for _, objects in records(file):
        return _keys(objects)
    raise DataError(f"{file}: no rows; expected at least one row")


def numbers(file: str) -> frozenset[str]:
    """Return the keys whose values in the first lines are numbers, not texts; see `header`."""
    for _, objects in records(file, _TYPED):
        values = {name: [record[name] for record in objects if record.get(name) is not None] for name in _keys(objects)}
        return frozenset(name for name, cells in values.items() if all(type(cell) is PointNumber for cell in cells))
    return frozenset()


def chunks(file: str, columns: Sequence[str]) -> Iterator[Chunk]:
    """Yield the records of a file in order, without blank lines.

    Args:
        file: Its path; the file may be compressed, see `benison.serving.files.compressed`.
        columns: The names of all its columns, in the order of the cells.

    Raises:
        DataError: The file cannot be read, a line is no object, a key is no column, or its value is an object.
    """
    lists: set[str] | None = None
    known = set(columns)
    for lines, objects in records(file):
        if lists is None:
            lists = {name for name in columns if any(isinstance(record.get(name), list) for record in objects)}
        for line, record in zip(lines, objects, strict=True):
            if not known.issuperset(record):
                key = next(key for key in record if key not in known)
                raise DataError(
                    f"{file}, line {line}: the key {key!r} is in none of the first lines, which have the columns; "
                    f"write it into the first line too (null if it has no value there)"
                )
        columns_of_text = [_column(file, name, lines, objects, is_list=name in lists) for name in columns]
        yield Chunk(file, columns, lines, pa.RecordBatch.from_arrays(columns_of_text, names=list(columns)))


def parsed(text: str | bytes, where: str, decoder: json.JSONDecoder | None = None) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text; bytes are UTF-8.
        where: Its place, for the message.
        decoder: One of this module; None for Python's numbers.

    Raises:
        DataError: It is no JSON, or an object has a key more than once.
    """
    try:
        return (decoder or _PYTHON).decode(text if isinstance(text, str) else text.decode())
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from None
    except RecursionError:
        raise DataError(f"{where}: its lists or objects are nested too deep") from None


def word(value: bool) -> str:
    """Return a truth value as the text that is a category."""
    return "true" if value else "false"


def records(file: str, decoder: json.JSONDecoder | None = None) -> Iterator[_Lines]:
    """Yield the objects of some lines at a time, at least one, with the numbers of the lines.

    Args:
        file: Its path.
        decoder: See `parsed`; None for numbers as they are written.

    Raises:
        DataError: The file cannot be read, or a line is no object.
    """
    number = 0
    try:
        for block in blocks(file, "utf-8"):
            lines: list[int] = []
            objects: list[dict[str, Any]] = []
            for line in block.data.removesuffix(b"\n").split(b"\n"):
                number += 1
                if not line.strip():
                    continue
                where = f"{file}, line {number}"
                record = parsed(line, where, decoder or _TEXT)
                if not isinstance(record, dict):
                    raise DataError(f'{where}: expected an object in each line, such as {{"age": 36}}')
                lines.append(number)
                objects.append(record)
            if objects:
                yield lines, objects
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None


def _keys(records: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for record in records for key in record))


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; Python would take the last of two equal keys without a word."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        double = min(key for key in keys if keys.count(key) > 1)
        raise DataError(f"an object has the key {double!r} more than once")
    return record


def _constant(name: str) -> PointNumber | None:
    """Return NaN as a missing value, as in every other form of a table, and an infinity as the text that it is."""
    return None if name == "NaN" else PointNumber(name)


def _column(file: str, name: str, lines: Sequence[int], records: Sequence[dict[str, Any]], *, is_list: bool) -> Any:
    values = [record.get(name) for record in records]
    if not is_list:
        try:
            return pa.array(values, pa.string()).fill_null("")
        except (pa.ArrowException, UnicodeError):  # it has other values than texts and null
            pass
    cells: list[Any] = []
    for line, value in zip(lines, values, strict=True):
        try:
            cells.append([_text(item) for item in _items(value)] if is_list else _text(value))
        except ValueError as error:
            raise DataError(f"{file}, line {line}, key {name!r}: {error}") from None
    return pa.array(cells, pa.list_(pa.string()) if is_list else pa.string())


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(
            f"got {_shown(value)}, expected a list of values, as in other lines; write one value as a list too"
        )
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return word(value)
    if not isinstance(value, str):
        expected = "a value per row: write the parts of an object as keys of the row"
        if isinstance(value, list):
            expected = "one value per row, or a list of values in every row"
        raise ValueError(f"got {_shown(value)}, expected {expected}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"got {_shown(value)}, which has half of a character") from None
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# A decoder of each reading of numbers; to make one for each line takes longer than to decode it.
_PYTHON = json.JSONDecoder(object_pairs_hook=_object)
_TEXT = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_constant, object_pairs_hook=_object)
_TYPED = json.JSONDecoder(
    parse_int=PointNumber, parse_float=PointNumber, parse_constant=_constant, object_pairs_hook=_object
)
FOR_PREDICTIONS = json.JSONDecoder(parse_float=PointNumber, parse_constant=_constant, object_pairs_hook=_object)
