"""Packs rows into few tensors: one per type, so that a run converts two or three tensors instead of dozens."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from benison.serving.server.codec import tensors
from benison.serving.server.engine import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

# The struct format of each type; struct refuses text, null, lists and numbers out of range.
FORMATS = {"float32": "d", "float64": "d", "int64": "q", "int32": "i"}
_CONTENT_FORMATS = {**FORMATS, "float32": "f"}  # of the bytes in a TensorProto
_TEXT = "string"
_FEW_ROWS = 16  # of a request of tensors; a column of more rows is quicker as an array than cell by cell

# The rows of one request: for each group the bytes of its numbers or the list of its texts, row after row.
PackedRows = tuple["bytes | list[Any]", ...]


@dataclass(frozen=True)
class Group:
    """The inputs of one type.

    Attributes:
        dtype: TensorFlow's name of the type.
        names: the names of the inputs, in the order in which they are packed.
    """

    dtype: str
    names: tuple[str, ...]


def groups(signature: Signature) -> tuple[Group, ...]:
    """Group a signature's inputs by type; none if they cannot be packed (`packing_blocker` says why)."""
    if packing_blocker(signature):
        return ()
    by_type: dict[str, list[str]] = {}
    for name, spec in signature.inputs.items():
        by_type.setdefault(spec.dtype, []).append(name)
    return tuple(Group(dtype, tuple(names)) for dtype, names in by_type.items())


def packing_blocker(signature: Signature) -> str:
    """Return why a signature's inputs cannot be packed; empty if they can."""
    if len(signature.inputs) < 2:
        return "fewer than two inputs"
    for name, spec in signature.inputs.items():
        if name in signature.defaults:
            return f"input {name} may be left out"
        if reason := _input_blocker(spec):
            return f"input {name} {reason}"
    return ""


def _input_blocker(spec: TensorSpec) -> str:
    if spec.shape != (-1,):
        return "is not one value per row"
    if spec.dtype != _TEXT and spec.dtype not in FORMATS:
        return f"is of type {spec.dtype}"
    return ""


def reader(packed: Sequence[Group]) -> Callable[[Sequence[Any]], PackedRows | None]:
    """Return a function that packs rows of JSON: objects with one value per input.

    The function returns None if the plain route must check the rows: they are not such objects, or a value has another
    type or is base64.
    """
    names = [name for group in packed for name in group.names]
    values_of, expected = itemgetter(*names), len(names)
    writers = _writers(packed)

    def read(rows: Sequence[Any]) -> PackedRows | None:
        packed_rows = None
        try:
            for row in rows:
                if type(row) is not dict or len(row) != expected:
                    return None
                values = values_of(row)
                if bool in set(map(type, values)):  # struct would accept True as 1
                    return None
                new = [write(values) for write in writers]
                packed_rows = (
                    new if packed_rows is None else [old + row for old, row in zip(packed_rows, new, strict=True)]
                )
        except (KeyError, TypeError, struct.error, OverflowError):
            return None
        return None if packed_rows is None else tuple(packed_rows)

    return read


def tensor_reader(packed: Sequence[Group]) -> Callable[[Mapping[str, Any]], tuple[PackedRows, int] | None]:
    """Return a function that packs the TensorProtos of a request, by input, and returns the number of rows too.

    The function returns None if the plain route must check the tensors: inputs are left out, or one has another type or
    shape or does not contain each of its values, or there are many rows.
    """
    expected = {name for group in packed for name in group.names}
    readers = [_tensors_reader(group) for group in packed]

    def read(protos: Mapping[str, Any]) -> tuple[PackedRows, int] | None:
        # A comparison of names first, since to read a name that a map of protos lacks would add it.
        if len(protos) != len(expected) or protos.keys() != expected:
            return None
        dims = protos[packed[0].names[0]].tensor_shape.dim
        rows = dims[0].size if len(dims) == 1 else 0
        if not 0 < rows <= _FEW_ROWS:
            return None
        packed_rows = [reader(protos, rows) for reader in readers]
        return None if None in packed_rows else (tuple(packed_rows), rows)  # type: ignore[arg-type]

    return read


def _tensors_reader(group: Group) -> Callable[[Mapping[str, Any], int], bytes | list[Any] | None]:
    """Return a function that packs the tensors of a group, each of `rows` values; None if one has another form."""
    number, field = tensors.number(group.dtype), tensors.FIELDS[group.dtype]
    code = _CONTENT_FORMATS.get(group.dtype, "")

    def read(protos: Mapping[str, Any], rows: int) -> bytes | list[Any] | None:
        cells: list[Any] = []  # column after column
        for name in group.names:
            proto = protos[name]
            shape = proto.tensor_shape
            dims, values, content = shape.dim, getattr(proto, field), proto.tensor_content
            if proto.dtype != number or len(dims) != 1 or dims[0].size != rows or shape.unknown_rank:
                return None
            if content:
                if not code or len(content) != rows * struct.calcsize(code):
                    return None
                values = memoryview(content).cast(code)  # type: ignore[call-overload]
            elif len(values) != rows:
                return None
            cells.extend(values)
        ordered = cells if rows == 1 else [cell for row in range(rows) for cell in cells[row::rows]]
        return struct.pack(f"={len(ordered)}{FORMATS[group.dtype]}", *ordered) if code else ordered

    return read


def arrays(packed: Sequence[Group], requests: Sequence[PackedRows]) -> list[np.ndarray[Any, Any]]:
    """Join the rows of several requests into one array [rows, inputs] per group.

    Args:
        packed: the groups.
        requests: the packed rows of each request.
    """
    import numpy as np

    result = []
    for position, group in enumerate(packed):
        width = len(group.names)
        if group.dtype == _TEXT:
            texts = [text for request in requests for text in request[position]]
            column = np.empty(len(texts), object)
            column[:] = texts
            result.append(column.reshape(-1, width))
            continue
        numbers = b"".join([request[position] for request in requests])  # type: ignore[misc]
        rows = np.frombuffer(numbers, FORMATS[group.dtype]).reshape(-1, width)
        with np.errstate(over="ignore"):  # numbers beyond a float32 become infinite, as in C++
            result.append(rows.astype(group.dtype))
    return result


def _writers(packed: Sequence[Group]) -> list[Callable[[Sequence[Any]], Any]]:
    writers, begin = [], 0
    for group in packed:
        end = begin + len(group.names)
        writers.append(_text_writer(begin, end) if group.dtype == _TEXT else _number_writer(group, begin, end))
        begin = end
    return writers


def _number_writer(group: Group, begin: int, end: int) -> Callable[[Sequence[Any]], bytes]:
    pack = struct.Struct(f"={end - begin}{FORMATS[group.dtype]}").pack
    return lambda values: pack(*values[begin:end])


def _text_writer(begin: int, end: int) -> Callable[[Sequence[Any]], list[Any]]:
    def write(values: Sequence[Any]) -> list[Any]:
        texts = list(values[begin:end])
        if "".join(texts).isascii():  # raises a TypeError if a value is not text
            return texts
        return [text.encode("utf-8", "surrogatepass") for text in texts]

    return write
