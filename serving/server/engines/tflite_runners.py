"""The functions that run the signatures of a TensorFlow Lite model, also of one that has none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from benison.serving.server.engine import DEFAULT_SIGNATURE
from benison.serving.server.engines import private_tensorflow
from benison.serving.server.status import Code, RequestError

if TYPE_CHECKING:
    import numpy as np

Details = Mapping[str, Mapping[str, Any]]  # of each tensor, by the name in requests, as tf.lite.Interpreter has them
_OLD_SIGNATURES = b"signature_defs_metadata"  # where converters before TensorFlow 2.5 wrote SignatureDefs


class Runner(Protocol):
    """The part of tf.lite's SignatureRunner that the server uses."""

    def get_input_details(self) -> Details:
        """Return the details of the inputs."""

    def get_output_details(self) -> Details:
        """Return the details of the outputs."""

    def __call__(self, **inputs: np.ndarray[Any, Any]) -> Mapping[str, np.ndarray[Any, Any]]:
        """Compute the outputs by name."""


def runners(interpreter: Any, model: bytes) -> dict[str, Runner]:
    """Return a function for each signature of a model.

    A model without signatures has `serving_default`, as in TF Serving. Its inputs and outputs have the names that a
    SignatureDef in its metadata gives them, or the names of their tensors.

    Args:
        interpreter: a tf.lite.Interpreter of the model.
        model: the content of its file.

    Raises:
        RequestError: The metadata or the names of the tensors contradict each other.
    """
    names = sorted(interpreter.get_signature_list())
    if names:
        return {name: interpreter.get_signature_runner(name) for name in names}
    return {DEFAULT_SIGNATURE: _WholeModel(interpreter, _names_in_metadata(model))}


class _WholeModel:
    """Run a model from its inputs to its outputs."""

    def __init__(self, interpreter: Any, names: Mapping[str, str]) -> None:
        """Prepare a model.

        Args:
            interpreter: its tf.lite.Interpreter.
            names: the name in requests by the name of the tensor; empty: the same.
        """
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self._inputs = _named(interpreter.get_input_details(), names)
        self._outputs = _named(interpreter.get_output_details(), names)

    def get_input_details(self) -> Details:
        return self._inputs

    def get_output_details(self) -> Details:
        return self._outputs

    def __call__(self, **inputs: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
        indices = {name: self._inputs[name]["index"] for name in inputs}
        for name, values in inputs.items():
            self._interpreter.resize_tensor_input(indices[name], values.shape)
        self._interpreter.allocate_tensors()
        for name, values in inputs.items():
            self._interpreter.set_tensor(indices[name], values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(detail["index"]) for name, detail in self._outputs.items()}


def _named(details: list[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Mapping[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {}
    for detail in details:
        name = names.get(_operation(detail["name"]), "") if names else detail["name"]
        if not name:
            message = f"Cannot find signature def name from tflite tensor {detail['name']}"
            raise RequestError(Code.INTERNAL, message)
        if name in named:
            raise RequestError(Code.ALREADY_EXISTS, f"tensor name: {name} has multiple indices")
        named[name] = detail
    return named


def _names_in_metadata(model: bytes) -> dict[str, str]:
    """Return the name in requests of each tensor that a SignatureDef in the metadata names."""
    from flatbuffers import flexbuffers
    from tensorflow.core.protobuf import meta_graph_pb2

    buffer = private_tensorflow.lite_metadata(model, _OLD_SIGNATURES)
    if not buffer:
        return {}
    signatures = flexbuffers.GetRoot(bytearray(buffer)).AsMap.Values
    if len(signatures) != 1:
        raise RequestError(Code.INVALID_ARGUMENT, "Multiple SignatureDefs found in TfLite model")
    signature = meta_graph_pb2.SignatureDef.FromString(bytes(signatures[0].AsStringBytes))
    infos = [*signature.inputs.items(), *signature.outputs.items()]
    return {_operation(info.name): name for name, info in infos}


def _operation(tensor: str) -> str:
    """Return the name of a tensor in a TensorFlow Lite model, which has no `:0` at its end."""
    return tensor.partition(":")[0]
