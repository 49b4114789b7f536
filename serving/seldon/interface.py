"""Which signature of a model is asked, and which of its outputs is the answer.

A graph says it by Seldon's own parameters `signature_name` and `model_output`. Where it does not, a Benison model is
asked by `raw` and any other by `serving_default`; the answer is `probabilities` or `prediction`, else the only output
of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.serving.errors import EnsembleError

PREFERRED_SIGNATURES = ("raw", "serving_default")
PREFERRED_OUTPUTS = ("probabilities", "prediction")


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        dtype: TensorFlow's name of it, such as float32.
        shape: sizes, -1 where any will do; None where even the rank is not known.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Interface:
    """One signature of a model."""

    signature: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]

    def answer(self, who: str, wanted: str = "") -> str:
        """The name of the output that is the model's answer.

        Args:
            who: the model, for the message.
            wanted: the one that the graph names; empty: none.

        Raises:
            EnsembleError: it is not there, or it cannot be told which it is.
        """
        if wanted:
            if wanted not in self.outputs:
                raise EnsembleError(f"{who}: no output {wanted!r} of {self.signature}; it has {self._named()}")
            return wanted
        for name in PREFERRED_OUTPUTS:
            if name in self.outputs:
                return name
        numbers = [name for name, tensor in self.outputs.items() if tensor.dtype.startswith(("float", "bfloat"))]
        if len(numbers) != 1:
            raise EnsembleError(
                f"{who}: which output of {self.signature} is the answer? It has {self._named()}; name it by the node's "
                "parameter `model_output`"
            )
        return numbers[0]

    def _named(self) -> str:
        return ", ".join(sorted(self.outputs))


def choose(who: str, signatures: Mapping[str, Any], wanted: str = "") -> Interface:
    """The signature that is asked.

    Args:
        who: the model, for the message.
        signatures: SignatureDef by name.
        wanted: the one that the graph names; empty: none.

    Raises:
        EnsembleError: the model has none of them.
    """
    names = (wanted,) if wanted else PREFERRED_SIGNATURES
    found = next((name for name in names if name in signatures), None)
    if found is None:
        have = ", ".join(sorted(name for name in signatures if not name.startswith("__"))) or "none"
        raise EnsembleError(
            f"{who}: no signature {' or '.join(names)}; it has {have}; "
            "name one by the node's parameter `signature_name`"
        )
    proto = signatures[found]
    return Interface(found, _tensors(proto.inputs), _tensors(proto.outputs))


def of_folder(folder: Path, wanted: str = "") -> Interface:
    """The signature of a SavedModel that is asked, without loading the model.

    Raises:
        EnsembleError: it is no SavedModel, or has no such signature.
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
        raise EnsembleError(f"{folder}: has no graph to be served; it must be exported with the tag `serve`")
    return choose(str(folder), serving.signature_def, wanted)


def common_inputs(faces: Mapping[str, Interface]) -> Mapping[str, Tensor]:
    """The inputs of the members, which are asked the same.

    Raises:
        EnsembleError: they take different ones.
    """
    first, *others = faces
    for other in others:
        mine, theirs = ({name: t.dtype for name, t in faces[who].inputs.items()} for who in (first, other))
        if mine != theirs:
            raise EnsembleError(
                f"{first} and {other} take different inputs, so they cannot be asked the same: "
                f"{first} ({faces[first].signature}) takes {_listed(mine)}; "
                f"{other} ({faces[other].signature}) takes {_listed(theirs)}"
            )
    return faces[first].inputs


def check_transformer(name: str, face: Interface, inputs: Mapping[str, Tensor]) -> None:
    """Sees to it that a transformer's outputs are the members' inputs.

    Raises:
        EnsembleError: they are not.
    """
    given, wanted = ({key: tensor.dtype for key, tensor in of.items()} for of in (face.outputs, inputs))
    if given != wanted:
        raise EnsembleError(
            f"{name}: its signature {face.signature} answers {_listed(given)}, and the members take {_listed(wanted)}"
        )


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
