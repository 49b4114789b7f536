"""Writes the warm-up requests of a version in TF Serving's format; a model server replays them before it serves.

The server's pages also show them as examples, so the first request of each signature is a real row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benison.serving.versions.local import SAVED_MODEL

FILE = "tf_serving_warmup_requests"
MAX_ROWS = 16  # per request


def write(file: Path, name: str, model: Path, rows: Mapping[str, NDArray], records: NDArray) -> None:
    """Write a TFRecord file of PredictionLog: requests with one row and with several, for `raw` and `serving_default`.

    Args:
        file: target file; its folder must exist.
        name: name of the model.
        model: the SavedModel.
        rows: real rows by input of `raw`, each [rows] in the signature's dtype.
        records: real rows as serialised tf.Examples [rows].
    """
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in _logs(name, {"raw": rows, "serving_default": {_examples_input(model): records}}):
            writer.write(log.SerializeToString(deterministic=True))


def _examples_input(model: Path) -> str:
    """Return the name of the only input of `serving_default`."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel.FromString((model / SAVED_MODEL).read_bytes())
    (name,) = saved_model.meta_graphs[0].signature_def["serving_default"].inputs
    return str(name)


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
