"""The engine for TensorFlow Lite models: `model.tflite` in a version's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.server.engine import LoadOptions, Signature, Tensors, TensorSpec, check_shapes
from benison.serving.server.engines import private_tensorflow, refused_operations, tflite_runners
from benison.serving.server.engines.predict_signature import predict_signature
from benison.serving.server.engines.tflite_runners import Runner
from benison.serving.server.status import Code, RequestError, invalid
from benison.serving.versions.local import LITE

if TYPE_CHECKING:
    import numpy as np


def is_present(path: str) -> bool:
    """Return whether a version's folder has a TensorFlow Lite model."""
    return (Path(path) / LITE).is_file()


class TFLiteEngine:
    """One interpreter that runs one request or batch at a time."""

    kind = "tflite"
    parallel = False

    def __init__(self, path: str, options: LoadOptions) -> None:
        """Load the model from a version's folder.

        Raises:
            ValueError: The model is broken.
            RequestError: The model has refused operations, the names of its tensors contradict each other, or this
                TensorFlow has no interpreter.
        """
        import tensorflow as tf

        model = (Path(path) / LITE).read_bytes()
        interpreter = getattr(tf.lite, "Interpreter", None)
        if interpreter is None:
            raise RequestError(Code.UNIMPLEMENTED, f"{path}: TensorFlow {tf.__version__} has no tf.lite.Interpreter")
        if refused_operations.are_checked(path, options):
            refused_operations.check_lite(path, model)
        self._interpreter = interpreter(model_content=model, num_threads=1)
        self._runners = tflite_runners.runners(self._interpreter, model)
        self._errors = ""
        state = private_tensorflow.lite_state(model)
        self.signatures: Mapping[str, Signature] = {
            name: replace(_signature(name, runner), writes=state) for name, runner in self._runners.items()
        }

    def run(
        self, signature: Signature, inputs: Tensors, outputs: Sequence[str], seconds: int = 0
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See `Engine`."""
        check_shapes(signature, inputs)
        try:
            results = self._runners[signature.name](**inputs)
        except (RuntimeError, ValueError) as error:  # the model does not support the shape, or the values
            raise invalid(self._new_part(str(error))) from None
        return {name: results[name] for name in outputs}

    def _new_part(self, message: str) -> str:
        """Return an error's own text: TensorFlow Lite writes it behind those of all errors before."""
        text = message.removeprefix(self._errors) or message
        self._errors = message
        return text

    def close(self) -> None:
        """See `Engine`."""
        self._runners.clear()
        del self._interpreter


def _signature(name: str, runner: Runner) -> Signature:
    inputs = {alias: _spec(detail) for alias, detail in sorted(runner.get_input_details().items())}
    outputs = {alias: _spec(detail) for alias, detail in sorted(runner.get_output_details().items())}
    return predict_signature(name, inputs, outputs)


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    import tensorflow as tf

    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(tf.dtypes.as_dtype(detail["dtype"]).name, tuple(int(size) for size in shape), detail["name"])
