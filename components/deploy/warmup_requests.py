"""Warm-up: requests that a version brings along, in TF Serving's form; a model server replays them before it serves.

They are also what the server's pages show as an example, so the first one of each signature is a real row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

FILE = "tf_serving_warmup_requests"
MAX_ROWS = 16  # of a request


def write(file: Path, model: str, rows: Mapping[str, NDArray], records: NDArray) -> None:
    """Writes a TFRecord file of PredictionLog: one row, then several, for `raw` and for `serving_default`.

    Args:
        file: where to; its folder is there.
        model: name that the requests are for.
        rows: real rows by input of `raw`, each [rows] in the signature's dtype.
        records: real rows as serialised tf.Examples [rows].
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in _logs(model, {"raw": rows, "serving_default": {"examples": records}}):
            writer.write(log.SerializeToString(deterministic=True))


def _logs(model: str, inputs: Mapping[str, Mapping[str, NDArray]]) -> Iterator[Any]:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    for signature, columns in inputs.items():
        for rows in (1, MAX_ROWS):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model
            request.model_spec.signature_name = signature
            for name, values in columns.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(values[:rows]))
            yield log
