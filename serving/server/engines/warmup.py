"""Warm-up: replays the requests that a version contains before it serves, from TF Serving's file in its format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benison.serving.server import inference
from benison.serving.server.engine import DEFAULT_SIGNATURE, Engine
from benison.serving.server.status import Code, RequestError, invalid
from benison.serving.versions.local import SAVED_MODEL

FILE = "assets.extra/tf_serving_warmup_requests"
_MAX_RECORDS = 1000


def replay(path: str, engine: Engine, iterations: int) -> int:
    """Run every PredictionLog of the version's warm-up file, if there is one; return the number of runs.

    Raises:
        RequestError: The file is broken or too long, or a request does not fit this model.
        tf.errors.OpError: A request fails.
    """
    runs = 0
    for call in calls(path, engine):
        for _ in range(max(iterations, 1)):
            engine.run(call.signature, call.inputs, call.outputs)
            runs += 1
    return runs


def calls(path: str, engine: Engine) -> Iterator[inference.Call]:
    """Yield the calls of the version's warm-up file; none if there is no file.

    Raises:
        RequestError: The file is broken or too long, or a request does not fit this model.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    file = Path(path) / FILE
    if not file.is_file():
        return
    # The TensorFlow Lite file of a version has one of the signatures of its SavedModel, and the requests are for both.
    of_two_models = engine.kind == "tflite" and (Path(path) / SAVED_MODEL).is_file()
    for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(file)), start=1):
        if number > _MAX_RECORDS:
            raise invalid(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}")
        try:
            log = prediction_log_pb2.PredictionLog.FromString(record)
        except DecodeError:
            raise invalid(f"Failed to parse warmup record {number} from {file}") from None
        if not (of_two_models and _signatures(log) - engine.signatures.keys()):
            yield from _calls(engine, log)


def _signatures(log: Any) -> set[str]:
    """Return the names of the signatures that a record runs."""
    request = getattr(log, log.WhichOneof("log_type") or "predict_log").request
    specs = [task.model_spec for task in request.tasks] if hasattr(request, "tasks") else [request.model_spec]
    return {spec.signature_name or DEFAULT_SIGNATURE for spec in specs}


def _calls(engine: Engine, log: Any) -> list[inference.Call]:
    """Return the calls of one record."""
    log_type = log.WhichOneof("log_type")
    if log_type is None:
        return []
    request = getattr(log, log_type).request
    if log_type == "predict_log":
        return [inference.predict_call(engine, request)]
    if log_type == "classify_log":
        return [inference.classify_call(engine, request.model_spec.signature_name, request.input)]
    if log_type == "regress_log":
        return [inference.regress_call(engine, request.model_spec.signature_name, request.input)]
    if log_type == "multi_inference_log":
        return inference.multi_calls(engine, request.tasks, request.input)
    raise RequestError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {log_type}")
