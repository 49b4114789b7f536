"""One loaded version: what it can be asked, and how. Everything else in the server sees only this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from benison.serving.server.status import Code, RequestError

if TYPE_CHECKING:
    import numpy as np

Tensors = Mapping[str, "np.ndarray[Any, Any]"]

# The names by which TensorFlow's C++ calls its types in messages, where they are not Python's.
_CPP_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of it, such as `float32` or `string`.
        shape: -1 for an unknown size; None for an unknown rank.
        tensor: its name in the graph; empty for a sparse or composite one, which cannot be asked for.
    """

    dtype: str
    shape: tuple[int, ...] | None
    tensor: str = ""

    @property
    def cpp_dtype(self) -> str:
        """As error messages call it."""
        return _CPP_NAMES.get(self.dtype, self.dtype)

    @property
    def batched(self) -> bool:
        """Whether the first dimension may have any size."""
        return bool(self.shape) and self.shape is not None and self.shape[0] == -1


@dataclass(frozen=True)
class Signature:
    """One way to ask a version.

    Attributes:
        name: as in requests.
        method: such as `tensorflow/serving/predict`.
        inputs: by name.
        outputs: by name.
        proto: the SignatureDef, for metadata.
        defaults: inputs that may be left out.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    proto: Any = None
    defaults: Tensors = field(default_factory=dict)

    @property
    def batched(self) -> bool:
        """Whether rows of several requests may go into one run: every input and output has a free first dimension."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.batched for spec in specs)


class Engine(Protocol):
    """A loaded version. `run` is called by several threads at a time only where `parallel` says so."""

    kind: str
    parallel: bool
    signatures: Mapping[str, Signature]

    def run(self, signature: Signature, inputs: Tensors, outputs: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """The outputs asked for, by name.

        Args:
            signature: one of `signatures`.
            inputs: every input of the signature, in its dtype; text is bytes in an object array.
            outputs: names of outputs.

        Raises:
            Exception: whatever TensorFlow raises; `status.from_exception` says it as TF Serving does.
        """

    def close(self) -> None:
        """Gives the memory back. Nothing may be asked afterwards."""


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded; from the flags."""

    tags: tuple[str, ...] = ("serve",)
    prefer_tflite: bool = False
    warm_up: bool = True
    warm_up_iterations: int = 1
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    gpu_memory_fraction: float = 0.0
    session_config_file: str = ""


def signature(engine: Engine, name: str, missing: Code = Code.FAILED_PRECONDITION, message: str = "") -> Signature:
    """The signature of that name, `serving_default` if it is empty.

    Raises:
        RequestError: with the given code and message (`{}` is the name), if there is none.
    """
    name = name or "serving_default"
    if name not in engine.signatures:
        raise RequestError(missing, (message or 'Serving signature key "{}" not found.').format(name))
    return engine.signatures[name]
