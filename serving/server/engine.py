"""The interface of a loaded version: its signatures and how to run them. The rest of the server uses only this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

Tensors = Mapping[str, "np.ndarray[Any, Any]"]
RefuseOperations = Literal["foreign", "all", "none"]
DEFAULT_SIGNATURE = "serving_default"  # of a request without a signature's name

# A time limit is a part of what TensorFlow prepares for a run, so there are few: a run may go on after its deadline.
STOP_SECONDS = (1, 2, 5, 10, 30, 60, 300, 3600)
WITHOUT_DEADLINE_SECONDS = 300

# The names of types in messages of TensorFlow's C++ code, where they differ from Python's.
_CPP_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's name of the dtype, such as `float32` or `string`.
        shape: the sizes, -1 for an unknown size; None for an unknown rank.
        tensor: the name of the tensor in the graph; empty for a sparse or composite one, which requests cannot use.
        takes_any_shape: whether the graph takes a tensor of any shape, whatever the signature declares.
    """

    dtype: str
    shape: tuple[int, ...] | None
    tensor: str = ""
    takes_any_shape: bool = False

    @property
    def cpp_dtype(self) -> str:
        """The name of the dtype in error messages."""
        return _CPP_NAMES.get(self.dtype, self.dtype)

    @property
    def batched(self) -> bool:
        """True if the first dimension may have any size."""
        return bool(self.shape) and self.shape is not None and self.shape[0] == -1


@dataclass(frozen=True)
class Signature:
    """A signature of a version.

    Attributes:
        name: the name in requests.
        method: the method name, such as `tensorflow/serving/predict`.
        inputs: the inputs by name.
        outputs: the outputs by name.
        proto: the SignatureDef, for metadata.
        defaults: the values of inputs that a request may leave out.
        missing: by input, the value of a missing cell, which may be null or left out in a request.
        columns: the input of each column whose own name is another; a request may use either name.
        amounts: by input, the form of the texts that a JSON request may have in place of numbers; see `number_text`.
        raw: whether its inputs are columns, as a version that Benison wrote says; then their shapes are checked.
        mixes: why the answer to a row may depend on other rows of a run; empty if the graph proves that it does not.
        writes: an operation with a lasting effect, such as one that counts requests; empty if there is none.
        cannot_run: why an operation of it cannot run in this TensorFlow; empty if all can.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    proto: Any = None
    defaults: Tensors = field(default_factory=dict)
    missing: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    amounts: Mapping[str, str] = field(default_factory=dict)
    raw: bool = False
    mixes: str = "its operations cannot be inspected"
    writes: str = ""
    cannot_run: str = ""

    def column_of(self, name: str) -> str:
        """Return the name of the column that an input is; an input that is no column has its own name."""
        return self._own_names.get(name, name)

    @cached_property
    def _own_names(self) -> Mapping[str, str]:
        return {argument: column for column, argument in self.columns.items()}

    @property
    def batched(self) -> bool:
        """True if several requests may share a run: the first dimension of every input and output has any size."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.batched for spec in specs)


def check_shapes(signature: Signature, inputs: Tensors) -> None:
    """Refuse inputs that do not have the declared shapes; some operations end the process for other ones.

    An input that is declared a scalar or a vector may have any shape, as in TF Serving.

    Args:
        signature: the signature that will run.
        inputs: its inputs by name.

    Raises:
        RequestError: INVALID_ARGUMENT; it names the first such input.
    """
    for name, spec in signature.inputs.items():
        shape, got = spec.shape, inputs[name].shape
        if shape is None or len(shape) < 2 or got == shape or spec.takes_any_shape:
            continue
        if len(got) != len(shape) or any(size not in (own, -1) for own, size in zip(got, shape, strict=True)):
            declared = ",".join("?" if size == -1 else str(size) for size in shape)
            sent = ",".join(map(str, got))
            raise invalid(f"input {name}: got a tensor of shape [{sent}], but the signature declares [{declared}]")


class Engine(Protocol):
    """A loaded version. Several threads call `run` at the same time only if `parallel` is true."""

    kind: str
    parallel: bool
    signatures: Mapping[str, Signature]

    def run(
        self, signature: Signature, inputs: Tensors, outputs: Sequence[str], seconds: int = 0
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Run a signature and return the requested outputs by name.

        Args:
            signature: one of `signatures`.
            inputs: every input of the signature, in its dtype; text is bytes in an object array.
            outputs: the names of the requested outputs.
            seconds: the time after which a run is stopped if it is in a loop, one of STOP_SECONDS; 0: it is not.

        Raises:
            Exception: TensorFlow failed, or stopped the run; `status.from_exception` converts it to TF Serving's form.
        """

    def close(self) -> None:
        """Release the memory. The engine cannot run afterwards."""


def stop_after(seconds_left: float) -> int:
    """Return the time after which to stop a run (seconds), one of STOP_SECONDS.

    Args:
        seconds_left: the time until the last deadline of its requests; infinity if one has none.
    """
    if seconds_left == float("inf"):
        return WITHOUT_DEADLINE_SECONDS
    return next((seconds for seconds in STOP_SECONDS if seconds >= seconds_left), STOP_SECONDS[-1])


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading versions, from the flags and the settings.

    Attributes:
        refuse_operations: the versions that must not reach files, the network or Python: `foreign` ones, which were not
            pushed into trusted_folder; `all`; or `none`.
        trusted_folder: real path of the folder of models whose pushed versions are trusted; empty: none.
    """

    tags: tuple[str, ...] = ("serve",)
    prefer_tflite: bool = False
    warm_up: bool = True
    warm_up_iterations: int = 1
    intra_op_threads: int = 1
    inter_op_threads: int = 1
    gpu_memory_fraction: float = 0.0
    session_config_file: str = ""
    refuse_operations: RefuseOperations = "foreign"
    trusted_folder: str = ""


def find_signature(engine: Engine, name: str, missing: Code = Code.FAILED_PRECONDITION, message: str = "") -> Signature:
    """Return the signature with a name; `serving_default` if the name is empty.

    Args:
        engine: the loaded version.
        name: the name in the request.
        missing: the code of the error if there is no such signature.
        message: the message of the error; `{}` stands for the name.

    Raises:
        RequestError: There is no such signature.
    """
    name = name or DEFAULT_SIGNATURE
    if name not in engine.signatures:
        raise RequestError(missing, (message or 'Serving signature key "{}" not found.').format(name))
    return engine.signatures[name]
