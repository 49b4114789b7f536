"""Rows of JSON as few tensors: all columns of one type lie in one, so that a run converts two or three, not dozens."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from benison.serving.server.engine import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

# How a type's values are written: by these, struct refuses text, null, lists and numbers out of range.
FORMATS = {"float32": "d", "float64": "d", "int64": "q", "int32": "i"}
_TEXT = "string"

# What one request brings: the rows' bytes of each numeric group, one after the other, or the list of its texts.
Parts = tuple["bytes | list[Any]", ...]


@dataclass(frozen=True)
class Group:
    """The inputs of one type.

    Attributes:
        dtype: TensorFlow's name of it.
        names: of the inputs, in the order in which they are packed.
    """

    dtype: str
    names: tuple[str, ...]


def groups(signature: Signature) -> tuple[Group, ...]:
    """A signature's inputs by type; none where they cannot be packed (`refusal` says why)."""
    if refusal(signature):
        return ()
    by_type: dict[str, list[str]] = {}
    for name, spec in signature.inputs.items():
        by_type.setdefault(spec.dtype, []).append(name)
    return tuple(Group(dtype, tuple(names)) for dtype, names in by_type.items())


def refusal(signature: Signature) -> str:
    """Why a signature's inputs cannot be packed; empty if they can."""
    if len(signature.inputs) < 2:
        return "fewer than two inputs"
    for name, spec in signature.inputs.items():
        if name in signature.defaults:
            return f"input {name} may be left out"
        if why := _unpackable(spec):
            return f"input {name} {why}"
    return ""


def _unpackable(spec: TensorSpec) -> str:
    if spec.shape != (-1,):
        return "is not one value per row"
    if spec.dtype != _TEXT and spec.dtype not in FORMATS:
        return f"is of type {spec.dtype}"
    return ""


def reader(packed: Sequence[Group]) -> Callable[[Sequence[Any]], Parts | None]:
    """A function from rows of JSON, objects with one value per input, to their parts.

    It returns None for all that needs a closer look: rows that are not such objects, values of another type, bytes.
    """
    names = [name for group in packed for name in group.names]
    values_of, expected = itemgetter(*names), len(names)
    writers = _writers(packed)

    def read(rows: Sequence[Any]) -> Parts | None:
        parts = None
        try:
            for row in rows:
                if type(row) is not dict or len(row) != expected:
                    return None
                values = values_of(row)
                if bool in set(map(type, values)):  # which struct would take for a 1
                    return None
                new = [write(values) for write in writers]
                parts = new if parts is None else [before + after for before, after in zip(parts, new, strict=True)]
        except (KeyError, TypeError, struct.error, OverflowError):
            return None
        return None if parts is None else tuple(parts)

    return read


def arrays(packed: Sequence[Group], parts: Sequence[Parts]) -> list[np.ndarray[Any, Any]]:
    """The parts of several requests as one array [inputs, rows] per group.

    Args:
        packed: the groups.
        parts: of each request, one after the other.
    """
    import numpy as np

    result = []
    for position, group in enumerate(packed):
        width = len(group.names)
        if group.dtype == _TEXT:
            texts = [text for request in parts for text in request[position]]
            column = np.empty(len(texts), object)
            column[:] = texts
            result.append(np.ascontiguousarray(column.reshape(-1, width).T))
            continue
        sent = b"".join([request[position] for request in parts])  # type: ignore[misc]
        rows = np.frombuffer(sent, FORMATS[group.dtype]).reshape(-1, width)
        with np.errstate(over="ignore"):  # beyond a float32 is infinite, as in C++
            result.append(rows.T.astype(group.dtype, order="C"))
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
        if "".join(texts).isascii():  # a TypeError for what is no text
            return texts
        return [text.encode("utf-8", "surrogatepass") for text in texts]

    return write
