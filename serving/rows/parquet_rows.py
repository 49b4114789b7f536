"""The records of a Parquet file, in chunks of text.

Every value becomes the text that a CSV has for it, so that a table gives the same examples in both forms. A missing
value, and NaN, is the empty cell.

    whole number    12
    float           5.0, 1e-07: the shortest text that is read as the same number, as Python and pandas write it
    decimal         12.50
    boolean         true, false
    date, time      2024-01-31, 2024-01-31 17:30:00.123456789, with the offset from UTC if the column has a time zone
    dictionary      its values
    list            a list of texts
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from benison.serving.errors import DataError
from benison.serving.rows.chunks import Chunk

_ROWS = 1 << 16  # rows that are read at once
_NO_FRACTION = r"\.0+([-+Z]|$)"  # of a second, before the time zone


def header(file: str) -> list[str]:
    """Return the names of the columns.

    Raises:
        DataError: The file cannot be read.
    """
    return list(_opened(file).schema_arrow.names)


def kinds(file: str) -> dict[str, str]:
    """Return by column `int`, `float` or `bytes`, of its values if it is a list; a column of nulls has none.

    Raises:
        DataError: The file cannot be read.
    """
    found = {}
    for field in _opened(file).schema_arrow:
        type_ = field.type
        while _is_list(type_) or pa.types.is_dictionary(type_):
            type_ = type_.value_type
        if not pa.types.is_null(type_):
            found[field.name] = "int" if pa.types.is_integer(type_) else "float" if _is_real(type_) else "bytes"
    return found


def chunks(file: str, columns: Sequence[str]) -> Iterator[Chunk]:
    """Yield the records of a file in order.

    Args:
        file: Its path.
        columns: The names of all its columns, in the order of the cells.

    Raises:
        DataError: The file cannot be read, or a column has a type that is no text, such as a structure.
    """
    position = 1
    try:
        for batch in _opened(file).iter_batches(_ROWS):
            texts = [as_texts(file, name, batch.column(batch.schema.get_field_index(name))) for name in columns]
            lines = range(position, position + len(batch))
            position += len(batch)
            yield Chunk(file, columns, lines, pa.RecordBatch.from_arrays(texts, names=list(columns)), unit="row")
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def as_texts(file: str, name: str, column: Any) -> Any:
    """Return an Arrow array as text, '' where it is null; or as lists of text.

    Raises:
        DataError: It has a type that is no text.
    """
    type_ = column.type
    if pa.types.is_dictionary(type_):
        return as_texts(file, name, column.dictionary_decode())
    if _is_list(type_) and not _is_list(type_.value_type):
        values = column.to_pylist()
        flat = pa.array([value for values_of_row in values for value in values_of_row or ()], type_.value_type)
        offsets = np.concatenate([[0], np.cumsum([len(values_of_row or ()) for values_of_row in values])])
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), as_texts(file, name, flat))
    try:
        texts = _scalars(column)
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(
            f"{file}, column {name!r}: got {type_} ({error}), expected a value per row, such as a number, a text or a "
            "time, or a list of these; write the parts of a structure as columns"
        ) from None
    return texts.fill_null("")


def _scalars(column: Any) -> Any:
    """Return an array of single values as text, null where a value is missing."""
    type_ = column.type
    if pa.types.is_decimal(type_):
        return pa.array([None if value is None else f"{value:f}" for value in column.to_pylist()], pa.string())
    if pa.types.is_floating(type_):
        values = column.to_numpy(zero_copy_only=False)
        values = values.astype(np.float32) if type_ == pa.float16() else values
        write = repr if type_ == pa.float64() else str  # numpy's float32 has the shortest text of its own
        cells = values.tolist() if type_ == pa.float64() else list(values)
        known = column.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(values)
        return pa.array([write(cell) for cell in cells], pa.string(), mask=~known)
    if pa.types.is_duration(type_):
        column = pc.cast(column, pa.int64())
    texts = pc.cast(column, pa.string())
    return pc.replace_substring_regex(texts, _NO_FRACTION, r"\1") if pa.types.is_temporal(type_) else texts


def _is_list(type_: Any) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _is_real(type_: Any) -> bool:
    return bool(pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _opened(file: str) -> Any:
    try:
        return parquet.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: str, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{file}: {error.strerror}")
    return DataError(f"{file}: not Parquet, or damaged: {error}")
