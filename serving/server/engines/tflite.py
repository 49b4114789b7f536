"""A TensorFlow Lite model, `model.tflite` in a version's folder, by the same requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.server.engine import Signature, Tensors, TensorSpec
from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

FILE = "model.tflite"


def present(path: str) -> bool:
    """Whether a version's folder holds one."""
    return (Path(path) / FILE).is_file()


class TFLiteEngine:
    """One interpreter, which runs one request or batch at a time."""

    kind = "tflite"
    parallel = False

    def __init__(self, path: str) -> None:
        """Loads it.

        Raises:
            ValueError: it is broken.
            RequestError: it has no signatures, or this TensorFlow has no interpreter.
        """
        import tensorflow as tf

        interpreter = getattr(tf.lite, "Interpreter", None)
        if interpreter is None:
            raise RequestError(Code.UNIMPLEMENTED, f"{path}: TensorFlow {tf.__version__} has no tf.lite.Interpreter")
        self._interpreter = interpreter(model_path=str(Path(path) / FILE), num_threads=1)
        names = sorted(self._interpreter.get_signature_list())
        if not names:
            raise RequestError(Code.INVALID_ARGUMENT, f"{path}/{FILE}: no signatures in it, so nothing can be asked")
        self._runners = {name: self._interpreter.get_signature_runner(name) for name in names}
        self.signatures: Mapping[str, Signature] = {
            name: _signature(name, runner) for name, runner in self._runners.items()
        }

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """See Engine."""
        try:
            answer = self._runners[signature.name](**inputs)
        except ValueError as error:  # a shape that the model cannot take
            raise invalid(str(error)) from None
        return {name: answer[name] for name in outputs}

    def close(self) -> None:
        """See Engine."""
        self._runners.clear()
        del self._interpreter


def _signature(name: str, runner: Any) -> Signature:
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2

    inputs = {alias: _spec(detail) for alias, detail in sorted(runner.get_input_details().items())}
    outputs = {alias: _spec(detail) for alias, detail in sorted(runner.get_output_details().items())}
    proto = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for specs, infos in ((inputs, proto.inputs), (outputs, proto.outputs)):
        for alias, spec in specs.items():
            infos[alias].name = spec.tensor
            infos[alias].dtype = tf.dtypes.as_dtype(spec.dtype).as_datatype_enum
            for size in spec.shape or ():
                infos[alias].tensor_shape.dim.add(size=size)
    return Signature(name, proto.method_name, inputs, outputs, proto)


def _spec(detail: Mapping[str, Any]) -> TensorSpec:
    import tensorflow as tf

    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(tf.dtypes.as_dtype(detail["dtype"]).name, tuple(int(size) for size in shape), detail["name"])
