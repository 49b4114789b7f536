"""Warm-up: the requests that a model brings along are replayed before it serves, in TF Serving's format and file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benison.serving.server import inference
from benison.serving.server.engine import Engine
from benison.serving.server.status import Code, RequestError, invalid

FILE = "assets.extra/tf_serving_warmup_requests"
_MOST_RECORDS = 1000


def replay(path: str, engine: Engine, iterations: int) -> None:
    """Runs every PredictionLog of the version's warm-up file, if there is one.

    Raises:
        RequestError: the file is broken or too long, or a request is not for this model.
        tf.errors.OpError: a request fails.
    """
    for call in calls(path, engine):
        for _ in range(max(iterations, 1)):
            engine.run(call.signature, call.inputs, call.outputs)


def calls(path: str, engine: Engine) -> Iterator[inference.Call]:
    """The runs that the version's warm-up file asks for; none where there is no file.

    Raises:
        RequestError: the file is broken or too long, or a request is not for this model.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    file = Path(path) / FILE
    if not file.is_file():
        return
    for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(file)), start=1):
        if number > _MOST_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({_MOST_RECORDS}) at {file}")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError:
            raise invalid(f"Failed to parse warmup record {number} from {file}") from None
        yield from _calls(engine, log)


def _calls(engine: Engine, log: Any) -> list[inference.Call]:
    """The runs that one record asks for."""
    kind = log.WhichOneof("log_type")
    if kind is None:
        return []
    request = getattr(log, kind).request
    if kind == "predict_log":
        return [inference.predict_call(engine, request)]
    if kind == "classify_log":
        return [inference.classify_call(engine, request.model_spec.signature_name, request.input)]
    if kind == "regress_log":
        return [inference.regress_call(engine, request.model_spec.signature_name, request.input)]
    if kind == "multi_inference_log":
        return inference.multi_calls(engine, request)
    raise RequestError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
