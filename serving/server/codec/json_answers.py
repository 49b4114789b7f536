"""Writes answers as JSON: row and columnar form, shortest decimals for float32, NaN and infinity as in TF Serving."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from benison.serving.server.engine import Tensors, TensorSpec
from benison.serving.server.status import invalid

if TYPE_CHECKING:
    import numpy as np

_PIECE = 256 << 10  # bytes of outputs that are written at once; other threads run between two pieces
_WRITABLE = frozenset(
    ["float32", "float64", "bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)


def predictions(outputs: Tensors, specs: Mapping[str, TensorSpec], row_form: bool) -> bytes:
    """Return the answer to a predict request.

    Args:
        outputs: the tensors by name; a single output is written without its name.
        specs: the signature's outputs, by name.
        row_form: write `predictions` with one entry per row, instead of `outputs` with one entry per tensor.

    Raises:
        RequestError: JSON has no type for an output, or an output has no rows in row form.
    """
    import numpy as np

    if row_form:
        _check_rows(outputs)
    finite = all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f")
    size = sum(values.nbytes for values in outputs.values())
    rows = len(next(iter(outputs.values()))) if row_form else 0
    if row_form and size > _PIECE:
        step = max(1, _PIECE * rows // size)
        pieces = [
            _dump_rows({name: values[begin : begin + step] for name, values in outputs.items()}, specs, finite)[1:-1]
            for begin in range(0, rows, step)
        ]
        pieces[0] = b'{"predictions":[' + pieces[0]
        pieces[-1] += b"]}"
        return b",".join(pieces)  # of large bytes, without Python's lock
    if row_form:
        return b'{"predictions":%b}' % _dump_rows(outputs, specs, finite)
    columns = {name: _column(name, values, specs[name]) for name, values in outputs.items()}
    return _dump({"outputs": next(iter(columns.values())) if len(columns) == 1 else columns}, finite)


def _dump_rows(outputs: Tensors, specs: Mapping[str, TensorSpec], finite: bool) -> bytes:
    """Return a list with one value or object per row."""
    columns = {name: _column(name, values, specs[name]) for name, values in outputs.items()}
    if len(columns) == 1:
        return _dump(next(iter(columns.values())), finite)
    rows = zip(*columns.values(), strict=True)
    return _dump([dict(zip(columns, row, strict=True)) for row in rows], finite)


def prediction_bodies(outputs: Tensors, specs: Mapping[str, TensorSpec], sizes: Sequence[int]) -> list[bytes]:
    """Return the answers, in row form, to several predict requests that shared a run.

    They equal the `predictions` of each request. The numbers are written once for the whole run and then split, at a
    tenth of the cost of writing each answer.

    Args:
        outputs: the outputs of the run; each has the rows of all requests.
        specs: the signature's outputs, by name.
        sizes: the number of rows of each request, in the order of the rows.

    Raises:
        RequestError: JSON has no type for an output.
    """
    import numpy as np

    if not all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f"):
        return [predictions(part, specs, True) for part in split(outputs, sizes)]
    columns = [_fragments(name, values, specs[name]) for name, values in outputs.items()]
    rows = columns[0] if len(columns) == 1 else _objects(list(outputs), columns)
    bodies, begin = [], 0
    for size in sizes:
        joined = rows[begin] if size == 1 else b",".join(rows[begin : begin + size])
        bodies.append(b'{"predictions":[' + joined + b"]}")
        begin += size
    return bodies


def split(outputs: Tensors, sizes: Sequence[int]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Split the outputs of a shared run by request."""
    parts, begin = [], 0
    for size in sizes:
        parts.append({name: values[begin : begin + size] for name, values in outputs.items()})
        begin += size
    return parts


def classifications(result: Any) -> bytes:
    """Return the answer to a classify request: a list of [label, score] per example.

    Args:
        result: a ClassificationResult.
    """
    import numpy as np

    rows = [[[entry.label, np.float32(entry.score)] for entry in row.classes] for row in result.classifications]
    finite = all(np.isfinite(entry.score) for row in result.classifications for entry in row.classes)
    return _dump({"results": rows}, finite)


def regressions(result: Any) -> bytes:
    """Return the answer to a regress request: one number per example.

    Args:
        result: a RegressionResult.
    """
    import numpy as np

    values = np.array([entry.value for entry in result.regressions], np.float32)
    return _dump({"results": values}, bool(np.isfinite(values).all()))


def error(message: str) -> bytes:
    """Return the answer to a request that failed."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def _check_rows(outputs: Tensors) -> None:
    expected = -1
    for name, values in outputs.items():
        if values.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if expected not in (-1, len(values)):
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(values)} expecting: {expected}")
        expected = len(values)


def _column(name: str, values: np.ndarray[Any, Any], spec: TensorSpec) -> Any:
    """Convert an output to a value that `_dump` accepts."""
    import numpy as np

    if spec.dtype not in _WRITABLE:
        raise invalid(f"Failed to write JSON value for tensor type: {spec.cpp_dtype}")
    if spec.dtype != "string":
        return np.ascontiguousarray(values) if values.ndim else values[()]
    if name.endswith("_bytes"):
        return _map_leaves(values.tolist(), lambda leaf: {"b64": base64.b64encode(leaf).decode()})
    # JSON is UTF-8; TF Serving writes the bytes unchanged, and no parser accepts them.
    return _map_leaves(values.tolist(), lambda leaf: leaf.decode("utf-8", "replace"))


def _fragments(name: str, values: np.ndarray[Any, Any], spec: TensorSpec) -> list[bytes]:
    """Return each row of a finite output as JSON."""
    if spec.dtype == "string" and values.ndim < 3:
        return _text_fragments(name, values, spec)
    column = _column(name, values, spec)
    if not values[:1].size or values.ndim > 2:
        return [_dump(row, finite=True) for row in column]
    text = _dump(column, finite=True)
    if values.ndim == 1:
        return text[1:-1].split(b",")
    return [b"[%b]" % row for row in text[2:-2].split(b"],[")]


def _text_fragments(name: str, values: np.ndarray[Any, Any], spec: TensorSpec) -> list[bytes]:
    """Return rows of text as JSON; each distinct row is written once, since most rows repeat, such as class names."""
    rows = values.tolist() if values.ndim == 1 else list(map(tuple, values.tolist()))
    texts: dict[Any, bytes] = {}
    for position, row in enumerate(rows):
        if row not in texts:
            texts[row] = _dump(_column(name, values[position : position + 1], spec)[0], finite=True)
    return [texts[row] for row in rows]


def _objects(names: Sequence[str], columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    template = b"{" + b",".join(orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in names) + b"}"
    return [template % row for row in zip(*columns, strict=True)]


def _dump(document: Any, finite: bool) -> bytes:
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes null for NaN and infinity.
    return json.dumps(document, default=_to_list, separators=(",", ":"), ensure_ascii=False).encode()


def _to_list(value: Any) -> Any:
    """Convert a numpy array or number for Python's encoder; a float32 keeps its shortest decimal."""
    if value.dtype == "float32":
        return _map_leaves(value.astype(str).tolist(), float)
    return value.tolist()


def _map_leaves(value: Any, convert: Callable[[Any], Any]) -> Any:
    return [_map_leaves(item, convert) for item in value] if isinstance(value, list) else convert(value)
