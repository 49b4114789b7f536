"""The signature of a model that is called, and the output that is its answer.

Seldon's parameters `signature_name` and `model_output` in the graph choose them. Without them, `raw` is called if the
model has it, else `serving_default`; the answer is `probabilities`, else `prediction`, else the only output of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.serving.errors import EnsembleError

PREFERRED_SIGNATURES = ("raw", "serving_default")
PREFERRED_OUTPUTS = ("probabilities", "prediction")
CLASSES = "classes"


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        dtype: TensorFlow's name of the type, such as float32.
        shape: Sizes, -1 for any size; None if the rank is unknown.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Interface:
    """One signature of a model."""

    signature: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def answer(self, model: str, output: str = "") -> str:
        """Return the name of the output that is the model's answer.

        Args:
            model: Name of the model, for the message.
            output: The output that the graph names; empty if it names none.

        Raises:
            EnsembleError: The output does not exist, or several outputs could be the answer.
        """
        if output:
            if output not in self.outputs:
                raise EnsembleError(
                    f"{model}: {self.signature} has no output {output!r}; it has {self._output_names()}"
                )
            return output
        for name in PREFERRED_OUTPUTS:
            if name in self.outputs:
                return name
        numbers = [name for name, tensor in self.outputs.items() if tensor.dtype.startswith(("float", "bfloat"))]
        if len(numbers) != 1:
            raise EnsembleError(
                f"{model}: it is unclear which output of {self.signature} is the answer; it has "
                f"{self._output_names()}; name one in the node's parameter `model_output`"
            )
        return numbers[0]

    @property
    def classes(self) -> str:
        """The name of the output with the names of the classes, one text per probability; '' if there is none."""
        tensor = self.outputs.get(CLASSES)
        if tensor is None or tensor.dtype != "string" or tensor.shape is None or len(tensor.shape) != 2:
            return ""
        return CLASSES

    def _output_names(self) -> str:
        return ", ".join(sorted(self.outputs))


def choose_signature(model: str, signatures: Mapping[str, Any], signature: str = "") -> Interface:
    """Choose the signature that is called.

    Args:
        model: Name of the model, for the message.
        signatures: SignatureDef by name.
        signature: The signature that the graph names; empty if it names none.

    Raises:
        EnsembleError: The model has no such signature.
    """
    names = (signature,) if signature else PREFERRED_SIGNATURES
    chosen = next((name for name in names if name in signatures), None)
    if chosen is None:
        known = ", ".join(sorted(name for name in signatures if not name.startswith("__"))) or "none"
        raise EnsembleError(
            f"{model}: no signature {' or '.join(names)}; it has {known}; "
            "name one in the node's parameter `signature_name`"
        )
    proto = signatures[chosen]
    return Interface(chosen, _tensors(proto.inputs), _tensors(proto.outputs))


def read_interface(folder: Path, signature: str = "") -> Interface:
    """Read the signature of a SavedModel that is called, without loading the model.

    Args:
        folder: The folder of the SavedModel.
        signature: The signature that the graph names; empty if it names none.

    Raises:
        EnsembleError: The folder is not a SavedModel, or has no such signature.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((folder / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as error:
        raise EnsembleError(f"{folder}: cannot be read as a SavedModel: {error}") from None
    serving = next((graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags), None)
    if serving is None:
        raise EnsembleError(f"{folder}: the SavedModel has no graph for serving; export it with the tag `serve`")
    return choose_signature(str(folder), serving.signature_def, signature)


def common_inputs(interfaces: Mapping[str, Interface]) -> Mapping[str, Tensor]:
    """Return the inputs of the members; all members get the same request.

    Raises:
        EnsembleError: The members take different inputs.
    """
    first, *others = interfaces
    first_inputs = _dtypes(interfaces[first].inputs)
    for other in others:
        other_inputs = _dtypes(interfaces[other].inputs)
        if other_inputs != first_inputs:
            raise EnsembleError(
                f"{first} and {other} take different inputs, so they cannot get the same request: "
                f"{first} ({interfaces[first].signature}) takes {_listed(first_inputs)}; "
                f"{other} ({interfaces[other].signature}) takes {_listed(other_inputs)}"
            )
    return interfaces[first].inputs


def check_transformer(name: str, transformer: Interface, inputs: Mapping[str, Tensor]) -> None:
    """Check that a transformer's outputs are the members' inputs.

    Raises:
        EnsembleError: They are not.
    """
    outputs, expected = _dtypes(transformer.outputs), _dtypes(inputs)
    if outputs != expected:
        raise EnsembleError(
            f"{name}: its signature {transformer.signature} returns {_listed(outputs)}, but the members take "
            f"{_listed(expected)}"
        )


def _dtypes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: tensor.dtype for name, tensor in tensors.items()}


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    import tensorflow as tf

    return {
        name: Tensor(
            tf.dtypes.as_dtype(info.dtype).name,
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }


def _listed(dtypes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in dtypes.items())
