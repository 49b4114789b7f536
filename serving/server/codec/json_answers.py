"""Answers as JSON: row and columnar form, float32 as its shortest decimal, NaN and infinity as TF Serving does."""

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

_WRITABLE = frozenset(
    ["float32", "float64", "bool", "string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)


def predictions(outputs: Tensors, specs: Mapping[str, TensorSpec], row_form: bool) -> bytes:
    """The answer to a predict request.

    Args:
        outputs: by name; of one output the name is dropped.
        specs: the signature's outputs, by name.
        row_form: `predictions`, one entry per row, instead of `outputs`, one per tensor.

    Raises:
        RequestError: an output has a type that JSON lacks, or no rows in row form.
    """
    import numpy as np

    if row_form:
        _check_rows(outputs)
    finite = all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f")
    columns = {name: _column(name, values, specs[name]) for name, values in outputs.items()}
    if len(columns) == 1:
        (only,) = columns.values()
        return _dump({"predictions" if row_form else "outputs": only}, finite)
    if not row_form:
        return _dump({"outputs": columns}, finite)
    rows = zip(*columns.values(), strict=True)
    return _dump({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}, finite)


def prediction_bodies(outputs: Tensors, specs: Mapping[str, TensorSpec], sizes: Sequence[int]) -> list[bytes]:
    """The answers, in row form, to several predict requests that shared a run: as `predictions` of each one's rows.

    Numbers are written once for the whole run and then cut, which costs a tenth of writing each answer.

    Args:
        outputs: of the run; every one has the rows of all requests.
        specs: the signature's outputs, by name.
        sizes: rows of each request, in the order of the rows.

    Raises:
        RequestError: an output has a type that JSON lacks.
    """
    import numpy as np

    if not all(np.isfinite(values).all() for values in outputs.values() if values.dtype.kind == "f"):
        return [predictions(part, specs, True) for part in split(outputs, sizes)]
    columns = [_fragments(name, values, specs[name]) for name, values in outputs.items()]
    rows = columns[0] if len(columns) == 1 else _objects(list(outputs), columns)
    bodies, begin = [], 0
    for size in sizes:
        listed = rows[begin] if size == 1 else b",".join(rows[begin : begin + size])
        bodies.append(b'{"predictions":[' + listed + b"]}")
        begin += size
    return bodies


def split(outputs: Tensors, sizes: Sequence[int]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """The outputs of a shared run, request by request."""
    parts, begin = [], 0
    for size in sizes:
        parts.append({name: values[begin : begin + size] for name, values in outputs.items()})
        begin += size
    return parts


def classifications(result: Any) -> bytes:
    """The answer to a classify request: per example a list of [label, score].

    Args:
        result: a ClassificationResult.
    """
    import numpy as np

    rows = [[[entry.label, np.float32(entry.score)] for entry in row.classes] for row in result.classifications]
    finite = all(np.isfinite(entry.score) for row in result.classifications for entry in row.classes)
    return _dump({"results": rows}, finite)


def regressions(result: Any) -> bytes:
    """The answer to a regress request: one number per example.

    Args:
        result: a RegressionResult.
    """
    import numpy as np

    values = np.array([entry.value for entry in result.regressions], np.float32)
    return _dump({"results": values}, bool(np.isfinite(values).all()))


def error(message: str) -> bytes:
    """The answer to a request that failed."""
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
    """An output as something that `_dump` takes."""
    import numpy as np

    if spec.dtype not in _WRITABLE:
        raise invalid(f"Failed to write JSON value for tensor type: {spec.cpp_dtype}")
    if spec.dtype != "string":
        return np.ascontiguousarray(values) if values.ndim else values[()]
    if name.endswith("_bytes"):
        return _map_leaves(values.tolist(), lambda leaf: {"b64": base64.b64encode(leaf).decode()})
    # JSON is UTF-8; TF Serving would write the bytes as they are, which no parser takes.
    return _map_leaves(values.tolist(), lambda leaf: leaf.decode("utf-8", "replace"))


def _fragments(name: str, values: np.ndarray[Any, Any], spec: TensorSpec) -> list[bytes]:
    """A finite output's rows as JSON, one by one."""
    if spec.dtype == "string" and values.ndim < 3:
        return _repeated(name, values, spec)
    column = _column(name, values, spec)
    if not values[:1].size or values.ndim > 2:
        return [_dump(row, finite=True) for row in column]
    text = _dump(column, finite=True)
    if values.ndim == 1:
        return text[1:-1].split(b",")
    return [b"[%b]" % row for row in text[2:-2].split(b"],[")]


def _repeated(name: str, values: np.ndarray[Any, Any], spec: TensorSpec) -> list[bytes]:
    """Rows of text as JSON; most models give few different ones, such as the names of the classes."""
    rows = values.tolist() if values.ndim == 1 else list(map(tuple, values.tolist()))
    known: dict[Any, bytes] = {}
    for position, row in enumerate(rows):
        if row not in known:
            known[row] = _dump(_column(name, values[position : position + 1], spec)[0], finite=True)
    return [known[row] for row in rows]


def _objects(names: Sequence[str], columns: Sequence[Sequence[bytes]]) -> list[bytes]:
    form = b"{" + b",".join(orjson.dumps(name).replace(b"%", b"%%") + b":%b" for name in names) + b"}"
    return [form % row for row in zip(*columns, strict=True)]


def _dump(document: Any, finite: bool) -> bytes:
    if finite:
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson would write null.
    return json.dumps(document, default=_listed, separators=(",", ":"), ensure_ascii=False).encode()


def _listed(value: Any) -> Any:
    """A numpy array or number for Python's encoder, which would show all the digits of a float32 made wider."""
    if value.dtype == "float32":
        return _map_leaves(value.astype(str).tolist(), float)
    return value.tolist()


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    return [_map_leaves(part, change) for part in value] if isinstance(value, list) else change(value)
