"""Answers as JSON: row and columnar form, float32 as its shortest decimal, NaN and infinity as TF Serving does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from serving.server.engine import Tensors, TensorSpec
from serving.server.status import invalid

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
