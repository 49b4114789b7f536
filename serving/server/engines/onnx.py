"""The engine for ONNX models: `model.onnx` in a version's folder that has no SavedModel, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.server.engine import (
    DEFAULT_SIGNATURE,
    LoadOptions,
    Signature,
    Tensors,
    TensorSpec,
    check_shapes,
)
from benison.serving.server.engines import low_priority
from benison.serving.server.engines.predict_signature import predict_signature
from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

FILE = "model.onnx"
CLASSES = ".classes"  # the end of the name of the output with the classes of a map
_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")
_TYPES = {
    "float": "float32",
    "double": "float64",
    "string": "string",
    "bool": "bool",
    **{name: name for name in ("float16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}
_MAPS = {"seq(map(string,tensor(float)))": "string", "seq(map(int64,tensor(float)))": "int64"}  # of ZipMap: its keys


def is_present(path: str) -> bool:
    """Return whether a version's folder has an ONNX model, and no SavedModel."""
    folder = Path(path)
    return (folder / FILE).is_file() and not any((folder / name).is_file() for name in _SAVED_MODELS)


class OnnxEngine:
    """One session of ONNX Runtime, which several threads use at the same time.

    Its only signature is `serving_default`, with the model's own names. A list of maps from classes to probabilities,
    as scikit-learn's converter makes it, is one output float32 [batch, classes], and NAME.classes has the names.
    """

    kind = "onnx"
    parallel = True

    def __init__(self, path: str, options: LoadOptions) -> None:
        """Load the model from a version's folder.

        Raises:
            RequestError: ONNX Runtime is not installed or cannot load the model, or an input or output is no tensor.
        """
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise RequestError(
                Code.UNIMPLEMENTED, f"{path}: an ONNX model needs ONNX Runtime: pip install 'benison[onnx]'"
            ) from None
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = max(options.intra_op_threads, 1)
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4  # an error is raised too
        try:
            session = low_priority.call(onnxruntime.InferenceSession, str(Path(path) / FILE), settings, None, None)
        except Exception as error:  # its own classes, one per code
            raise RequestError(Code.INVALID_ARGUMENT, f"{path}: {_one_line(error)}") from None
        self._session = session
        inputs = {value.name: _spec(path, value) for value in session.get_inputs()}
        self._maps: dict[str, str] = {}
        outputs: dict[str, TensorSpec] = {}
        for value in session.get_outputs():
            if (keys := _MAPS.get(value.type)) is None:
                outputs[value.name] = _spec(path, value)
                continue
            self._maps[value.name] = keys
            outputs[value.name] = TensorSpec("float32", (-1, -1), value.name)
            outputs[value.name + CLASSES] = TensorSpec("string", (-1, -1), value.name)
        self.signatures: Mapping[str, Signature] = {
            DEFAULT_SIGNATURE: predict_signature(DEFAULT_SIGNATURE, inputs, outputs)
        }

    def run(
        self, signature: Signature, inputs: Tensors, outputs: Sequence[str], seconds: int = 0
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See `Engine`."""
        check_shapes(signature, inputs)
        feeds = {
            name: _texts(name, values) if signature.inputs[name].dtype == "string" else values
            for name, values in inputs.items()
        }
        wanted = list(dict.fromkeys(name.removesuffix(CLASSES) if self._is_classes(name) else name for name in outputs))
        try:
            values = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
        except Exception as error:  # the model does not support the shape, or the values
            raise invalid(_one_line(error)) from None
        results = {}
        for name in outputs:
            of_map = name.removesuffix(CLASSES) if self._is_classes(name) else name
            if of_map in self._maps:
                results[name] = _of_map(values[of_map], classes=of_map != name)
            else:
                results[name] = _bytes(values[name])
        return results

    def _is_classes(self, output: str) -> bool:
        return output.endswith(CLASSES) and output.removesuffix(CLASSES) in self._maps

    def close(self) -> None:
        """See `Engine`."""
        del self._session


def _spec(path: str, value: Any) -> TensorSpec:
    """Return type and shape of an input or output of ONNX Runtime."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _TYPES:
        raise RequestError(Code.UNIMPLEMENTED, f"{path}: {value.name} is {value.type}, expected a tensor")
    sizes = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in value.shape)
    return TensorSpec(_TYPES[kind], sizes, value.name)


def _texts(name: str, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return text as ONNX Runtime takes it.

    Raises:
        RequestError: INVALID_ARGUMENT if it is no UTF-8.
    """
    import numpy as np

    try:
        decoded = [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values.ravel()]
    except UnicodeDecodeError:
        raise invalid(f"input {name}: an ONNX model takes text in UTF-8") from None
    return np.array(decoded, object).reshape(values.shape)


def _bytes(values: Any) -> np.ndarray[Any, Any]:
    """Return an output as an array, text as bytes."""
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind not in "OU":
        return array
    encoded = np.empty(array.size, object)
    encoded[:] = [str(value).encode() for value in array.ravel()]
    return encoded.reshape(array.shape)


def _of_map(rows: Sequence[Mapping[Any, float]], *, classes: bool) -> np.ndarray[Any, Any]:
    """Return the values of a map per row float32 [batch, n], or its keys as text, in the same order in each row."""
    import numpy as np

    keys = list(rows[0]) if rows else []
    if classes:
        return np.array([[str(key).encode() for key in keys] for _ in rows], object).reshape(len(rows), len(keys))
    return np.array([[row[key] for key in keys] for row in rows], np.float32).reshape(len(rows), len(keys))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
