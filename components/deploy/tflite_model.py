"""Converts a SavedModel to a TensorFlow Lite file that runs on TensorFlow Lite's own operations alone.

The file has one signature of the SavedModel, with the same names of inputs and outputs: `raw` if TensorFlow Lite can
compute all of it. It has no look-ups of text, no float64 and no pictures; then the file has `transformed`, whose inputs
are the features, and Transform's graph stays outside of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.serving import missing_values
from benison.serving.errors import BenisonError

RAW, TRANSFORMED = "raw", "transformed"
_LACKING = re.compile(r"(?:TF Select|Custom) ops: (.+)")
_BATCH_ROWS = 4096
_LONGEST_REASON = 300

Rows = Mapping[str, NDArray]


class NotConvertible(BenisonError):
    """Error for a model that TensorFlow Lite cannot compute; the message names the operations."""


@dataclass(frozen=True)
class LiteModel:
    """A converted model.

    Attributes:
        content: the content of the file.
        signature: `raw` or `transformed`.
        outside: why it is not `raw`; '' if it is.
    """

    content: bytes
    signature: str
    outside: str = ""


def convert(model: Path, quantize: str, rows: Callable[[str], Rows]) -> LiteModel:
    """Convert a SavedModel.

    Args:
        model: its folder.
        quantize: none, dynamic, float16 or int8.
        rows: returns rows of `train` as the inputs of a signature, from which int8 learns the ranges of all numbers.

    Raises:
        NotConvertible: TensorFlow Lite has not all operations.
    """
    import tensorflow as tf

    inputs = tf.saved_model.load(str(model)).signatures[RAW].structured_input_signature[1]
    texts = sorted(name for name, spec in inputs.items() if spec.dtype == tf.string)
    described = (missing_values.read_inputs(model) or {}).items()
    required = sorted(name for name, e in described if e.get("missing") is None and e["type"].startswith("int"))
    if texts:
        outside = f"TensorFlow Lite looks up no text: {', '.join(texts)}"
    elif required:  # the converter leaves out assertions, and the marker of a missing number would be a number
        outside = f"TensorFlow Lite cannot refuse a row without a whole number: {', '.join(required)}"
    else:
        try:
            return LiteModel(_convert(model, RAW, quantize, rows), RAW)
        except NotConvertible as error:
            outside = str(error)
    return LiteModel(_convert(model, TRANSFORMED, quantize, rows), TRANSFORMED, outside)


def answers(content: bytes, signature: str, inputs: Rows, output: str) -> NDArray:
    """Return an output of a converted model [rows, n]."""
    import tensorflow as tf

    runner = tf.lite.Interpreter(model_content=content).get_signature_runner(signature)
    count = len(next(iter(inputs.values())))
    batches = [
        runner(**{name: values[start : start + _BATCH_ROWS] for name, values in inputs.items()})[output]
        for start in range(0, count, _BATCH_ROWS)
    ]
    return np.concatenate(batches)


def _convert(model: Path, signature: str, quantize: str, rows: Callable[[str], Rows]) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert import ConverterError

    converter = tf.lite.TFLiteConverter.from_saved_model(str(model), signature_keys=[signature])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]  # and none of TensorFlow's
    if quantize != "none":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        # What has no 8-bit kernel, such as a softmax over the members, stays in float32, and so do inputs and outputs.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        sample = rows(signature)
        converter.representative_dataset = lambda: _one_by_one(signature, sample)
    try:
        return bytes(converter.convert())
    except ConverterError as error:
        raise NotConvertible(_reason(str(error))) from None


def _one_by_one(signature: str, rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    for number in range(len(next(iter(rows.values())))):
        yield signature, {name: values[number : number + 1] for name, values in rows.items()}


def _reason(message: str) -> str:
    """Return the operations that a converter's message names, or else its last line."""
    lacking = sorted({name for names in _LACKING.findall(message) for name in names.split(", ")})
    if lacking:
        types = " of float64" if "xf64" in message else ""
        return f"TensorFlow Lite has no {', '.join(lacking)}{types}"
    lines = [line for line in message.splitlines() if line.strip()] or ["the conversion failed"]
    return lines[-1][-_LONGEST_REASON:]
